//! What the copies of a process have done, for its metrics.

use crate::linux::copy::Progress;

/// What the copies of a process have done since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Copies that run now.
    pub running: usize,
    /// Copies that wait for others.
    pub waiting: usize,
    /// Copies that were completed.
    pub completed: u64,
    /// Copies that failed or were cancelled.
    pub failed: u64,
    /// Files that were copied, those of running copies included.
    pub files: u64,
    /// Bytes that were copied, those of running copies included.
    pub bytes: u64,
}

impl Totals {
    /// With the files and bytes of a copy.
    pub(super) fn with_work_of(self, progress: &Progress) -> Self {
        Self { files: self.files + progress.files(), bytes: self.bytes + progress.bytes(), ..self }
    }

    /// With a copy that has ended.
    pub(super) fn with_end_of(self, progress: &Progress, completed: bool) -> Self {
        let Self { completed: before, failed, .. } = self;
        let (ended, not) = (u64::from(completed), u64::from(!completed));
        Self { completed: before + ended, failed: failed + not, ..self }.with_work_of(progress)
    }
}
