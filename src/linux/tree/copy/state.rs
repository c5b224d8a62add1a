//! The state of one copy, which its threads share.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::default_acls::DefaultAcls;
use super::failure::{Failure, Outcome};
use super::position::Position;
use super::request::{CopyError, CopyRequest, Summary};
use crate::linux::dir::Dir;
use crate::linux::error::SysError;
use crate::linux::process::unique;
use crate::linux::raw::FileKind;
use crate::linux::tree::keyed_lock::KeyedLock;
use crate::linux::tree::queue::Queue;

/// A piece of work. A directory puts at most one page of its entries into the queue at a time, so the length of the
/// queue depends on the depth of the tree and not on its size.
pub(super) enum Task {
    /// Read the next page of the directory.
    Read(Arc<Position>),
    /// Copy the directory of this name.
    Enter(Arc<Position>, OsString),
    /// Copy these entries. They were not directories when they were listed.
    Entries(Arc<Position>, Vec<(OsString, FileKind)>),
}

/// Something that only one thread may work on at a time.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum LockKey {
    /// A name in a directory. The directory is identified by the address of its [`Position`].
    Name(usize, OsString),
    /// An inode with several hard links, identified by its name in [`CopyRequest::links`].
    Inode(String),
}

pub(super) struct CopyState<'a> {
    pub(super) request: &'a CopyRequest<'a>,
    pub(super) queue: Queue<Task>,
    pub(super) locks: KeyedLock<LockKey>,
    pub(super) default_acls: DefaultAcls,
    pub(super) counts: Counts,
    failures: Mutex<Vec<Failure>>,
    stopped: AtomicBool,
}

/// A [`Summary`] that several threads add to.
#[derive(Default)]
pub(super) struct Counts {
    files: AtomicU64,
    directories: AtomicU64,
    others: AtomicU64,
    bytes: AtomicU64,
    vanished: AtomicU64,
    skipped: AtomicU64,
}

impl<'a> CopyState<'a> {
    pub(super) fn new(request: &'a CopyRequest<'a>) -> Self {
        Self {
            request,
            queue: Queue::new(),
            locks: KeyedLock::new(),
            default_acls: DefaultAcls::default(),
            counts: Counts::default(),
            failures: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Fails if the copy has to end. Called between entries and between pieces of a large file.
    pub(super) fn check_cancelled(&self) -> Outcome {
        let stopped = self.stopped.load(Ordering::Relaxed) || self.request.progress.is_cancelled();
        if stopped { Err(Failure::Stopped) } else { Ok(()) }
    }

    /// Records the outcome for one entry. A failure ends the whole copy.
    pub(super) fn note(&self, place: &Position, name: &OsStr, outcome: Outcome) {
        let failure = match outcome {
            Ok(()) => return,
            Err(Failure::Vanished) => return self.counts.vanished(),
            Err(Failure::System(error)) => Failure::System(place.locate(error, name)),
            Err(failure) => failure,
        };
        self.fail(failure);
    }

    pub(super) fn fail(&self, failure: Failure) {
        self.failures.lock().push(failure);
        self.stopped.store(true, Ordering::Relaxed);
        self.queue.stop();
    }

    /// Creates the entry `name` of the copy with `make`. If the name exists, the directory listing has shown it twice,
    /// and the existing entry is an older state. It is moved away; a thread that still writes to it has it open.
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

    /// Moves an older state of an entry out of the copy.
    pub(super) fn move_away(&self, dir: &Dir, name: &OsStr) -> Outcome {
        Ok(dir.rename(name, self.request.links, format!("old.{:x}", unique()))?)
    }

    pub(super) fn conclude(self) -> Result<Summary, CopyError> {
        let failures = self.failures.into_inner();
        let (mut errors, mut too_deep, stopped) = (Vec::new(), None, !failures.is_empty());
        for failure in failures {
            match failure {
                Failure::System(error) => errors.push(error),
                Failure::TooDeep(path) => too_deep = Some(path),
                Failure::Vanished | Failure::Changed | Failure::Stopped => {}
            }
        }
        match too_deep {
            _ if !errors.is_empty() => Err(CopyError::Failed(errors)),
            Some(path) => Err(CopyError::TooDeep(path)),
            None if stopped => Err(CopyError::Cancelled),
            None => Ok(self.counts.summary()),
        }
    }
}

impl Counts {
    pub(super) fn file(&self, allocated: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(allocated, Ordering::Relaxed);
    }

    pub(super) fn directory(&self, allocated: u64) {
        self.directories.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(allocated, Ordering::Relaxed);
    }

    pub(super) fn other(&self, allocated: u64) {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(allocated, Ordering::Relaxed);
    }

    pub(super) fn vanished(&self) {
        self.vanished.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    fn summary(&self) -> Summary {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            files: value(&self.files),
            directories: value(&self.directories),
            others: value(&self.others),
            bytes: value(&self.bytes),
            vanished: value(&self.vanished),
            skipped: value(&self.skipped),
        }
    }
}
