//! The place of one export in the table of exports: its mount, or why it could not be mounted last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::mounted::MountedExport;
use crate::linux::MountError;
use crate::linux::step::Leader;

/// For how long it counts that no server has answered. Calls that come one after the other then do not each ask a dead server.
const HOLDS: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Slot {
    /// It is locked while the export is being mounted, so that calls that begin at the same time make one mount.
    mounted: Mutex<Option<Arc<MountedExport>>>,
    failure: Mutex<Option<(Arc<MountError>, Instant)>>,
    /// The call that mounts the export.
    pub(super) mounting: Leader,
}

impl Slot {
    /// The mount, if there is one. Waits while the export is being mounted.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Arc<MountedExport>>> {
        self.mounted.lock()
    }

    /// The mount, if there is one. `None` while the export is being mounted.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Option<Arc<MountedExport>>>> {
        self.mounted.try_lock()
    }

    /// Remembers why the export could not be mounted.
    pub(super) fn fail(&self, failure: Arc<MountError>) {
        *self.failure.lock() = Some((failure, Instant::now()));
    }

    /// Why the export could not be mounted, if that is an answer for a call that has waited since `arrived`: the attempt ended while
    /// the call waited for it, or no server has answered just now.
    pub(super) fn failure_for(&self, arrived: Instant) -> Option<Arc<MountError>> {
        let failure = self.failure.lock();
        let (failure, at) = failure.as_ref()?;
        let holds = *at >= arrived || failure.is_unreachable() && at.elapsed() < HOLDS;
        holds.then(|| Arc::clone(failure))
    }

    /// Whether nothing is known any more that is of use: there is no mount, and none is being made.
    pub(super) fn is_obsolete(&self) -> bool {
        self.try_lock().is_some_and(|mounted| mounted.is_none())
            && self.failure.lock().as_ref().is_none_or(|(_, at)| at.elapsed() >= HOLDS)
    }
}
