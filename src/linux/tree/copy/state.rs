//! One copy under way: what its threads share.

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::failure::{Failure, Outcome};
use super::keyed_lock::KeyedLock;
use super::position::Position;
use super::walk::Task;
use super::xattr::PlainLists;
use super::{CopyError, CopyRequest, Summary};
use crate::linux::tree::queue::Queue;

/// Something that only one thread may work on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum LockKey {
    /// A name in a place, which is named by its address.
    Name(usize, OsString),
    /// An inode with several names, by its name in [`CopyRequest::links`].
    Inode(String),
}

pub(super) struct CopyState<'a> {
    pub(super) order: &'a CopyRequest<'a>,
    pub(super) queue: Queue<Task>,
    pub(super) busy: KeyedLock<LockKey>,
    pub(super) plain: PlainLists,
    pub(super) counts: Counts,
    failures: Mutex<Vec<Failure>>,
    stopped: AtomicBool,
}

/// A [`Summary`] that threads add to.
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
    pub(super) fn new(order: &'a CopyRequest<'a>) -> Self {
        Self {
            order,
            queue: Queue::new(),
            busy: KeyedLock::new(),
            plain: PlainLists::default(),
            counts: Counts::default(),
            failures: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Asked between entries and between pieces of a large file.
    pub(super) fn check_cancelled(&self) -> Outcome {
        let stopped = self.stopped.load(Ordering::Relaxed) || self.order.progress.is_cancelled();
        if stopped { Err(Failure::Stopped) } else { Ok(()) }
    }

    /// Takes note of what became of an entry. A failure ends the whole copy.
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
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
        self.stopped.store(true, Ordering::Relaxed);
        self.queue.stop();
    }

    pub(super) fn conclude(self) -> Result<Summary, CopyError> {
        let failures = self.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
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
