//! The walk through the tree: which directory is read next, and when a directory is complete.

use std::ffi::OsStr;
use std::sync::Arc;

use nix::errno::Errno;

use super::failure::{Failure, Outcome, of_source, system};
use super::position::Position;
use super::state::{CopyState, LockKey, Task};
use super::{entry, xattr};
use crate::linux::dir::metadata::{Freshness, Metadata};
use crate::linux::error::SysError;
use crate::linux::raw::{self, FileKind};

/// The deepest nesting of directories. Each level needs two open handles while anything below it is being copied.
pub(super) const DEEPEST: usize = 4096;
/// The number of entries in one task.
const BATCH: usize = 16;
/// How often an entry is examined again that is of another kind each time.
const LOOKS: usize = 100;

/// Prepares the top directory and queues it.
pub(super) fn start(run: &CopyState) -> Outcome {
    let request = run.request;
    // New handles, because the position of a directory listing belongs to the handle.
    let (from, to) = (request.from.open_dir(".")?.with_label(""), request.to.open_dir(".")?.with_label(""));
    let metadata = Metadata::of(&from, Freshness::Now).map_err(|e| request.from.error("stat", ".", e))?;
    xattr::inherit_nothing(&to)?;
    if to.ownership()?.2 & 0o2000 != 0 {
        to.set_mode(0o700)?;
    }
    run.queue.push([Task::Read(Arc::new(Position::new(
        from,
        to,
        metadata,
        request.from.label().into(),
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
            copy_entry(run, &place, &name, FileKind::Directory);
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

/// Bytes of directory entries that are read at once: some hundred names, or a few names far down in a tree.
fn page(depth: usize) -> usize {
    if depth < 64 { 8192 } else { 1024 }
}

/// Reads a page of the directory. The kernel keeps the position in the open directory.
fn read(run: &CopyState, place: &Arc<Position>) -> Outcome {
    run.check_cancelled()?;
    let (mut directories, mut others) = (Vec::new(), Vec::new());
    let page = raw::read_dir_page(&place.from, page(place.depth), |name, kind| match kind {
        FileKind::Directory => directories.push(name.to_owned()),
        kind => others.push((name.to_owned(), kind)),
    });
    let ended = match page {
        Ok(ended) => ended,
        // The directory was removed. For the top this is a failure: an empty copy must not pass for a copy of it.
        Err(Errno::ENOENT | Errno::ESTALE) if !place.is_top() => {
            run.counts.vanished();
            true
        }
        Err(errno) => return Err(system("read")(errno)),
    };
    let batches = others.chunks(BATCH).map(<[_]>::to_vec);
    let mut tasks = Vec::new();
    if !ended {
        // As the first in the list it is done after all others.
        tasks.push(Task::Read(Arc::clone(place)));
    }
    tasks.extend(directories.into_iter().map(|name| Task::Enter(Arc::clone(place), name)));
    tasks.extend(batches.map(|batch| Task::Entries(Arc::clone(place), batch)));
    place.add_pending(tasks.len());
    run.queue.push(tasks);
    done(run, Arc::clone(place));
    Ok(())
}

/// Copies an entry. `kind` is its kind when it was listed.
fn copy_entry(run: &CopyState, place: &Arc<Position>, name: &OsStr, kind: FileKind) {
    let outcome = try_entry(run, place, name, kind);
    run.note(place, name, outcome);
}

fn try_entry(run: &CopyState, place: &Arc<Position>, name: &OsStr, mut kind: FileKind) -> Outcome {
    // A directory that changes while it is listed may show a name twice.
    let _guard = run.locks.lock(LockKey::Name(Arc::as_ptr(place) as usize, name.to_owned()));
    for _ in 0..LOOKS {
        run.check_cancelled()?;
        let outcome = match kind {
            FileKind::Directory => enter(run, place, name),
            FileKind::File => entry::copy_file(run, place, name),
            _ => Err(Failure::Changed),
        };
        match outcome {
            Err(Failure::Changed) => {}
            outcome => return outcome,
        }
        let metadata = Metadata::of_entry(&place.from, name, Freshness::Now).map_err(of_source("stat"))?;
        kind = metadata.kind;
        if !matches!(kind, FileKind::Directory | FileKind::File) {
            match entry::copy_other(run, place, name, &metadata) {
                Err(Failure::Changed) => {}
                outcome => return outcome,
            }
        }
    }
    // The entry is replaced all the time, so it has no state that could be copied.
    Err(Failure::Vanished)
}

fn enter(run: &CopyState, place: &Arc<Position>, name: &OsStr) -> Outcome {
    let from = match place.from.open_dir(name) {
        Err(error) if error.is_not_found() || error.is_stale() => return Err(Failure::Vanished),
        Err(error) if error.is_unsafe_path() => return Err(Failure::Changed),
        opened => opened?.with_label(""),
    };
    // Ask the server: an NFS client that listed the directory a moment ago would show the old list.
    let metadata = Metadata::of(&from, Freshness::Now).map_err(of_source("stat"))?;
    if metadata.device != place.metadata.device {
        return Err(Failure::System(SysError::other_file_system("copy", String::new())));
    }
    if place.depth + 1 >= DEEPEST {
        return Err(Failure::TooDeep(place.path_of(name)));
    }
    // No tenant can reach the copy, so it gets its final mode at once, plus access for the owner. setgid is set at the
    // end, because new entries of the directory would inherit its group.
    let mode = metadata.attributes.mode & 0o777 | 0o700;
    run.make(place, name, || place.to.make_dir(name, mode))?;
    let to = place.to.open_dir(name)?.with_label("");
    // Before the new directory's tasks can end.
    place.add_pending(1);
    let below = Position::new(from, to, metadata, name.to_owned(), Some(Arc::clone(place)));
    run.queue.push([Task::Read(Arc::new(below))]);
    Ok(())
}

/// Takes note that one task for `place` has ended. After the last one, the directory gets its attributes and counts as
/// one ended task of its parent.
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

/// Sets the directory's own attributes. This comes last, because new entries change its times and would inherit from it.
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
