//! The progress of a copy, and the way to cancel it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// Shared between the copy and the code that observes or cancels it.
#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    bytes: AtomicU64,
    cancelled: AtomicBool,
    end: Mutex<Option<Instant>>,
}

impl Progress {
    /// Entries that are complete, without directories.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Bytes of content in the copy, without holes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Makes the copy end soon, with [`CopyError::Cancelled`](super::CopyError::Cancelled).
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Makes the copy end in the same way soon after this moment.
    pub fn end_at(&self, end: Option<Instant>) {
        *self.end.lock() = end;
    }

    /// Whether [`Progress::cancel`] was called, or the moment of [`Progress::end_at`] has come.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.is_overdue()
    }

    /// Whether the moment of [`Progress::end_at`] has come.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.end.lock().is_some_and(|end| end <= Instant::now())
    }

    pub(in crate::linux::tree) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::linux::tree) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
