//! The way through the tree: which directory is read next, and when one is finished.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::failure::{Failure, Outcome, of_source, system};
use super::position::Position;
use super::state::{CopyState, LockKey};
use super::{entry, xattr};
use crate::linux::dir::Dir;
use crate::linux::dir::attributes::{Freshness, Metadata};
use crate::linux::error::SysError;

/// Levels of directories. Each takes two handles while anything below it is under way.
pub(super) const DEEPEST: usize = 4096;
/// Files that one thread takes at a time.
const BATCH: usize = 16;
/// How often an entry is looked at that is of another kind each time.
const LOOKS: usize = 100;

/// Something to do. What a place has waiting is at most one page of its entries, so the queue's length depends on the
/// depth of the tree and not on its size.
pub(super) enum Task {
    /// Read the next page of the directory.
    Read(Arc<Position>),
    /// Copy the directory of this name.
    Enter(Arc<Position>, OsString),
    /// Copy these entries, most likely no directories.
    Entries(Arc<Position>, Vec<(OsString, FileType)>),
}

/// Begins at the top.
pub(super) fn start(run: &CopyState) -> Outcome {
    let order = run.order;
    // Handles with a position of their own.
    let (from, to) = (order.from.open_dir(".")?.with_label(""), order.to.open_dir(".")?.with_label(""));
    let metadata = Metadata::of(&from, Freshness::Now).map_err(|e| order.from.error("stat", ".", e))?;
    xattr::inherit_nothing(&to)?;
    if to.ownership()?.2 & 0o2000 != 0 {
        to.set_mode(0o700)?;
    }
    run.queue.push([Task::Read(Arc::new(Position::new(
        from,
        to,
        metadata,
        order.from.label().into(),
        None,
    )))]);
    Ok(())
}

pub(super) fn perform(run: &CopyState, task: Task) {
    match task {
        Task::Read(place) => {
            let outcome = read(run, &place);
            run.note(&place, OsStr::new("."), outcome);
        }
        Task::Enter(place, name) => {
            copy_entry(run, &place, &name, FileType::Directory);
            done(run, place);
        }
        Task::Entries(place, entries) => {
            for (name, kind) in entries {
                copy_entry(run, &place, &name, kind);
            }
            done(run, place);
        }
    }
}

/// Bytes of directory entries that are read at once: some hundred names, far down in a tree only a few.
fn page(depth: usize) -> usize {
    if depth < 64 { 8192 } else { 1024 }
}

/// Reads a page of the directory; the position is kept by its handle.
fn read(run: &CopyState, place: &Arc<Position>) -> Outcome {
    run.check_cancelled()?;
    let mut buffer = vec![MaybeUninit::uninit(); page(place.depth)];
    let mut stream = RawDir::new(&place.from, &mut buffer);
    let (mut directories, mut others) = (Vec::new(), Vec::new());
    let ended = loop {
        match stream.next() {
            None => break true,
            Some(Ok(entry)) => {
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name != "." && name != ".." {
                    match entry.file_type() {
                        FileType::Directory => directories.push(name.to_owned()),
                        kind => others.push((name.to_owned(), kind)),
                    }
                }
            }
            Some(Err(Errno::INTR)) => {}
            // The directory was removed. Not so the top: an empty copy must not pass for a copy of it.
            Some(Err(Errno::NOENT | Errno::STALE)) if !place.is_top() => {
                run.counts.vanished();
                break true;
            }
            Some(Err(errno)) => return Err(system("read")(errno)),
        }
        if stream.is_buffer_empty() {
            break false;
        }
    };
    let batches = others.chunks(BATCH).map(<[_]>::to_vec);
    let mut tasks = Vec::new();
    if !ended {
        // The first of them, so that it is worked on after all others.
        tasks.push(Task::Read(Arc::clone(place)));
    }
    tasks.extend(directories.into_iter().map(|name| Task::Enter(Arc::clone(place), name)));
    tasks.extend(batches.map(|batch| Task::Entries(Arc::clone(place), batch)));
    place.add_pending(tasks.len());
    run.queue.push(tasks);
    done(run, Arc::clone(place));
    Ok(())
}

/// CopyJobs an entry of whatever kind, first taken for one of `kind`.
fn copy_entry(run: &CopyState, place: &Arc<Position>, name: &OsStr, kind: FileType) {
    let outcome = try_entry(run, place, name, kind);
    run.note(place, name, outcome);
}

fn try_entry(run: &CopyState, place: &Arc<Position>, name: &OsStr, mut kind: FileType) -> Outcome {
    // A directory that changes while it is read may show a name twice.
    let _turn = run.busy.take(LockKey::Name(Arc::as_ptr(place) as usize, name.to_owned()));
    for _ in 0..LOOKS {
        run.check_cancelled()?;
        let outcome = match kind {
            FileType::Directory => enter(run, place, name),
            FileType::RegularFile => entry::copy_file(run, place, name),
            _ => Err(Failure::Changed),
        };
        match outcome {
            Err(Failure::Changed) => {}
            outcome => return outcome,
        }
        let metadata = Metadata::of_entry(&place.from, name, Freshness::Now).map_err(of_source("stat"))?;
        kind = metadata.kind;
        if !matches!(kind, FileType::Directory | FileType::RegularFile) {
            match entry::copy_other(run, place, name, &metadata) {
                Err(Failure::Changed) => {}
                outcome => return outcome,
            }
        }
    }
    // Somebody replaces it all the time: there is no state of it that could be copied.
    Err(Failure::Vanished)
}

fn enter(run: &CopyState, place: &Arc<Position>, name: &OsStr) -> Outcome {
    let from = match place.from.open_dir(name) {
        Err(error) if error.is_not_found() || error.is_stale() => return Err(Failure::Vanished),
        Err(error) if error.is_unsafe_path() => return Err(Failure::Changed),
        opened => opened?.with_label(""),
    };
    // The server is asked: an NFS client that has listed the directory lately would show the old list.
    let metadata = Metadata::of(&from, Freshness::Now).map_err(of_source("stat"))?;
    if place.depth + 1 >= DEEPEST {
        return Err(Failure::TooDeep(place.path_of(name)));
    }
    // Nobody but this process can reach the copy, so its final mode can be given at once, if it lets us in. setgid
    // comes at the end: what is made in the directory would inherit its group.
    let mode = metadata.attributes.mode & 0o777 | 0o700;
    run.make(place, name, || place.to.make_dir(name, mode))?;
    let to = place.to.open_dir(name)?.with_label("");
    // Counted before its tasks can end.
    place.add_pending(1);
    let below = Position::new(from, to, metadata, name.to_owned(), Some(Arc::clone(place)));
    run.queue.push([Task::Read(Arc::new(below))]);
    Ok(())
}

/// Something in the place is done. After the last of it the place gets its attributes, and so on upwards.
fn done(run: &CopyState, mut place: Arc<Position>) {
    while place.one_done() {
        let outcome = finish(run, &place);
        run.note(&place, OsStr::new("."), outcome);
        match place.above.clone() {
            Some(above) => place = above,
            None => return,
        }
    }
}

/// The directory's own attributes: last, because what is made in it changes its times, and would inherit from it.
fn finish(run: &CopyState, place: &Position) -> Outcome {
    run.check_cancelled()?;
    let name = OsStr::new(".");
    let attributes = &place.metadata.attributes;
    let now = Metadata::of(&place.to, Freshness::Cached).map_err(system("stat"))?;
    attributes.apply_owner_and_mode(&place.to, &now.attributes, name)?;
    let (from, to) = (xattr::Handle::of(&place.from), xattr::Handle::of(&place.to));
    let has_list = match xattr::copy(run, &from, &to, &place.metadata, place.is_top()) {
        // The directory was removed after its entries were copied.
        Err(Failure::Vanished) if !place.is_top() => false,
        copied => copied?,
    };
    if has_list {
        let now = Metadata::of(&place.to, Freshness::Now).map_err(system("stat"))?;
        attributes.apply_owner_and_mode(&place.to, &now.attributes, name)?;
    }
    attributes.apply_times(&place.to, name)?;
    run.counts.directory(place.metadata.allocated);
    Ok(())
}

impl CopyState<'_> {
    /// Makes the entry `name` in the copy. What is there already is an older state of it: the name has been shown
    /// twice. It is moved out of the way; a thread that still works on it has a handle.
    pub(super) fn make(
        &self,
        place: &Position,
        name: &OsStr,
        make: impl Fn() -> Result<(), SysError>,
    ) -> Outcome {
        match make() {
            Err(error) if error.is_taken() => {
                self.move_away(&place.to, name)?;
                Ok(make()?)
            }
            result => Ok(result?),
        }
    }

    pub(super) fn move_away(&self, dir: &Dir, name: &OsStr) -> Outcome {
        Ok(dir.rename(name, self.order.links, format!("old.{:x}", crate::linux::unique()))?)
    }
}
