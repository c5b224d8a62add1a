//! A directory of the source and its copy.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::linux::dir::Dir;
use crate::linux::dir::attributes::Metadata;
use crate::linux::error::SysError;

/// As many bytes at the end of a long path are told.
const LONGEST_PATH: usize = 1000;

pub(super) struct Position {
    pub(super) from: Dir,
    pub(super) to: Dir,
    /// As it was when the directory was entered.
    pub(super) metadata: Metadata,
    /// `None` for the top.
    pub(super) above: Option<Arc<Position>>,
    pub(super) depth: usize,
    /// The top's is its whole path.
    name: OsString,
    /// What keeps it from being finished: its own reading, and everything below it that waits or is worked on.
    pending: AtomicUsize,
}

impl Position {
    /// The labels of the two handles are to be empty: with whole paths, memory would grow with the square of the depth.
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

    /// One thing is done. Whether it was the last.
    pub(super) fn one_done(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Says in an error which entry of the source it is about; `name` may be `.`.
    pub(super) fn locate(&self, mut error: SysError, name: &OsStr) -> SysError {
        let path = self.path_of(name);
        let told = error.path.as_str();
        let detail = if told.is_empty() || told == name.to_string_lossy() { "" } else { told };
        error.path = if detail.is_empty() { path } else { format!("{path} ({detail})") };
        error
    }

    /// The path of an entry for a person to read, its beginning left out if it is very long.
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

/// A chain of thousands of places must not be dropped by recursion.
impl Drop for Position {
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(mut place) = next.and_then(Arc::into_inner) {
            next = place.above.take();
        }
    }
}
