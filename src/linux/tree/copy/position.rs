//! A directory of the source together with its copy.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::linux::dir::Dir;
use crate::linux::dir::metadata::Metadata;
use crate::linux::error::SysError;

/// Messages show this many bytes at the end of a long path.
const LONGEST_PATH: usize = 1000;

pub(super) struct Position {
    pub(super) from: Dir,
    pub(super) to: Dir,
    /// The source's metadata when the walk entered it.
    pub(super) metadata: Metadata,
    /// The parent directory; `None` for the top.
    pub(super) above: Option<Arc<Position>>,
    pub(super) depth: usize,
    /// The name in the parent directory. For the top, its whole path.
    name: OsString,
    /// Work that must end before the directory is complete: reading it, and every task for its entries.
    pending: AtomicUsize,
}

impl Position {
    /// The two handles must have empty labels. Otherwise the labels' memory would grow with the square of the depth.
    pub(super) fn new(
        from: Dir,
        to: Dir,
        metadata: Metadata,
        name: OsString,
        above: Option<Arc<Self>>,
    ) -> Self {
        let depth = above.as_ref().map_or(0, |above| above.depth + 1);
        Self { from, to, metadata, above, depth, name, pending: AtomicUsize::new(1) }
    }

    pub(super) fn is_top(&self) -> bool {
        self.above.is_none()
    }

    pub(super) fn add_pending(&self, more: usize) {
        self.pending.fetch_add(more, Ordering::SeqCst);
    }

    /// Takes note that one piece of work has ended. Returns whether it was the last.
    pub(super) fn one_done(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Puts the path of the entry `name` into `error`; `.` is this directory.
    pub(super) fn locate(&self, mut error: SysError, name: &OsStr) -> SysError {
        let path = self.path_of(name);
        let given = error.path.as_str();
        let detail = if given.is_empty() || given == name.to_string_lossy() { "" } else { given };
        error.path = if detail.is_empty() { path } else { format!("{path} ({detail})") };
        error
    }

    /// The path of the entry `name` for messages. The beginning of a very long path is replaced by `...`.
    pub(super) fn path_of(&self, name: &OsStr) -> String {
        let mut names = Vec::new();
        if name != "." {
            names.push(name);
        }
        let mut length = name.len();
        let mut place = self;
        while let Some(above) = &place.above {
            length += place.name.len() + 1;
            if length > LONGEST_PATH {
                names.push(OsStr::new("..."));
                break;
            }
            names.push(&place.name);
            place = above;
        }
        while let Some(above) = &place.above {
            place = above;
        }
        let mut path = PathBuf::from(&place.name);
        path.extend(names.iter().rev());
        path.display().to_string()
    }
}

/// Drops the parents in a loop. Recursion over thousands of levels would overflow the stack.
impl Drop for Position {
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(mut place) = next.and_then(Arc::into_inner) {
            next = place.above.take();
        }
    }
}
