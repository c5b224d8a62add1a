//! A walk through a whole directory tree that shows every entry once, by directory handles and with several threads.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use parking_lot::Mutex;

use super::copy::Progress;
use super::queue::Queue;
use crate::linux::dir::Dir;
use crate::linux::dir::metadata::{Freshness, Metadata};
use crate::linux::error::{Result, SysError};
use crate::linux::raw::{self, FileKind};

/// Threads for one tree. On NFS each of them waits for the server most of the time.
const WORKERS: usize = 8;
/// The number of waiting tasks at which more threads than the caller's are started. Most trees are small.
const WORTH_HELP: usize = 4;
/// The number of entries in one task.
const BATCH: usize = 32;
/// Bytes of directory entries that are read at once: some hundred names.
const PAGE: usize = 8192;
/// The deepest nesting of directories. Each level needs an open handle while anything below it is visited.
const DEEPEST: usize = 4096;

/// An entry of the tree.
pub(in crate::linux) enum Seen<'a> {
    /// A directory, opened for reading. What is in it is visited afterwards.
    Directory(&'a Dir),
    /// Anything else, opened with `O_PATH`. A symbolic link is the link itself.
    Other(BorrowedFd<'a>),
}

/// A failure, with the name of the operation.
pub(in crate::linux) type Failed = (&'static str, Errno);

/// What is done with each entry.
pub(in crate::linux) type Visit<'a> = dyn Fn(Seen<'_>, &Metadata) -> Result<(), Failed> + Sync + 'a;

/// Shows `see` everything in `top`, but not `top` itself. Symbolic links are never followed. Ends with the first failure. An entry
/// that disappears or is replaced meanwhile is no failure. `op` names the work in the error of a cancelled walk.
///
/// NFS requests: a READDIR for some hundred entries, and a LOOKUP for each entry whose attributes did not come with it.
pub(in crate::linux) fn visit_tree(
    top: &Dir,
    op: &'static str,
    progress: &Progress,
    see: &Visit<'_>,
) -> Result<()> {
    let dir = top.open_dir(".")?;
    let walk = Walk { op, see, progress, label: top.label(), queue: Queue::new(), failure: Mutex::default() };
    let place = Place { dir: dir.with_label(""), name: OsString::new(), above: None, depth: 0 };
    walk.queue.push([Task::Read(Arc::new(place))]);
    walk.queue.work(WORKERS, WORTH_HELP, |task| walk.perform(task));
    walk.failure.into_inner().map_or(Ok(()), Err)
}

/// A directory of the tree.
struct Place {
    dir: Dir,
    name: OsString,
    above: Option<Arc<Place>>,
    depth: usize,
}

enum Task {
    /// Read the next page of the directory.
    Read(Arc<Place>),
    /// Show these entries. Those that are directories are then read.
    Entries(Arc<Place>, Vec<OsString>),
}

struct Walk<'a> {
    op: &'static str,
    see: &'a Visit<'a>,
    progress: &'a Progress,
    label: String,
    queue: Queue<Task>,
    failure: Mutex<Option<SysError>>,
}

impl Walk<'_> {
    fn perform(&self, task: Task) {
        let (place, failed) = match task {
            Task::Read(place) => {
                let read = self.read(&place);
                (place, read.map_err(|failed| (OsString::new(), failed)))
            }
            Task::Entries(place, names) => {
                let seen = names.into_iter().try_for_each(|name| match self.show(&place, &name) {
                    // It was removed or replaced meanwhile.
                    Err((_, Errno::ENOENT | Errno::ESTALE | Errno::ELOOP | Errno::ENOTDIR)) => Ok(()),
                    seen => seen.map_err(|failed| (name, failed)),
                });
                (place, seen)
            }
        };
        if let Err((name, (op, errno))) = failed {
            let path = place.path_of(&name);
            let path = if path.as_os_str().is_empty() {
                self.label.clone()
            } else {
                format!("{}/{}", self.label, path.display())
            };
            self.failure.lock().get_or_insert_with(|| SysError::new(op, path, errno));
            self.queue.stop();
        }
    }

    fn read(&self, place: &Arc<Place>) -> Result<(), Failed> {
        let mut names = Vec::new();
        let ended = match raw::read_dir_page(&place.dir, PAGE, |name, _| names.push(name.to_owned())) {
            // The directory was removed.
            Err(Errno::ENOENT | Errno::ESTALE) if place.above.is_some() => true,
            read => read.map_err(|errno| ("read", errno))?,
        };
        // The last task is done next: first these entries, and then the next page.
        let more = (!ended).then(|| Task::Read(Arc::clone(place)));
        let batches = names.chunks(BATCH).map(|names| Task::Entries(Arc::clone(place), names.to_vec()));
        self.queue.push(more.into_iter().chain(batches));
        Ok(())
    }

    fn show(&self, place: &Arc<Place>, name: &OsStr) -> Result<(), Failed> {
        if self.progress.is_cancelled() {
            return Err((self.op, Errno::ECANCELED));
        }
        let failed = |op: &'static str| move |error: SysError| (op, error.errno().unwrap_or(Errno::EIO));
        // Everything is done by a handle, whatever gets the name meanwhile.
        let entry = place.dir.open_entry(name).map_err(failed("open"))?;
        let metadata = Metadata::of(&entry, Freshness::Cached).map_err(|errno| ("stat", errno))?;
        self.progress.add_file();
        if metadata.kind != FileKind::Directory {
            return (self.see)(Seen::Other(entry.as_fd()), &metadata);
        }
        if place.depth + 1 >= DEEPEST {
            return Err(("enter", Errno::ENAMETOOLONG));
        }
        let dir = place.dir.open_dir(name).map_err(failed("open"))?.with_label("");
        (self.see)(Seen::Directory(&dir), &metadata)?;
        let below =
            Place { dir, name: name.to_owned(), above: Some(Arc::clone(place)), depth: place.depth + 1 };
        self.queue.push([Task::Read(Arc::new(below))]);
        Ok(())
    }
}

impl Place {
    fn path_of(&self, name: &OsStr) -> PathBuf {
        let mut names = vec![name];
        let mut place = self;
        while let Some(above) = &place.above {
            names.push(&place.name);
            place = above;
        }
        names.into_iter().rev().filter(|name| !name.is_empty()).collect()
    }
}
