//! One mounted export, with what this process keeps of it as long as it is mounted.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::linux::copy::Support;
use crate::linux::{Dir, ExportRoot, NfsOptions, NfsSource};

use crate::volume::error::Result;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::reaper::Reaper;
use crate::volume::share::state_dir::StateDir;

/// How long the sum of all capacities counts as right if nobody uses it.
const COUNT_HOLDS: Duration = Duration::from_mins(1);

/// Where the export is, and how it is mounted.
pub(super) type Key = (Vec<NfsSource>, NfsOptions);

/// One mounted export. Its handles stay usable after it is unmounted.
pub struct MountedExport {
    root: ExportRoot,
    state: Mutex<Option<Arc<StateDir>>>,
    reaper: Mutex<Option<Reaper>>,
    idle_since: Mutex<Option<Instant>>,
    abandoned_after: Duration,
    promises: Arc<Promises>,
    key: Key,
    copy_support: Support,
}

/// The capacity of all volumes on one export. Its mounts share this.
#[derive(Default)]
pub(super) struct Promises {
    /// Held from the check of the free capacity until the record of the new volume is written.
    turn: Mutex<()>,
    /// The sum of all capacities in bytes, and when it was last used. `None` until it is needed for the first time.
    sum: Mutex<Option<(u64, Instant)>>,
}

impl MountedExport {
    /// An export that has just been mounted.
    pub(super) fn new(
        root: ExportRoot,
        key: Key,
        promises: Arc<Promises>,
        abandoned_after: Duration,
    ) -> Self {
        Self {
            root,
            state: Mutex::default(),
            reaper: Mutex::default(),
            idle_since: Mutex::default(),
            abandoned_after,
            promises,
            key,
            copy_support: Support::same_export(),
        }
    }

    /// What was mounted, to unmount it.
    pub(super) fn root(&self) -> &ExportRoot {
        &self.root
    }

    /// What is promised on this export, shared with its other mounts.
    pub(super) fn promises(&self) -> Arc<Promises> {
        Arc::clone(&self.promises)
    }

    /// A call or a volume uses the export.
    pub(super) fn is_used(&self) {
        *self.idle_since.lock() = None;
    }

    /// For how long nothing has used the export before `now`, if nothing uses it now.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.idle_since.lock().get_or_insert(now))
    }

    /// Whether something is being removed on the export, or soon will be.
    pub(super) fn is_reaping(&self) -> bool {
        self.reaper.lock().as_ref().is_some_and(Reaper::is_pending)
    }

    /// The share's top directory.
    #[must_use]
    pub fn share(&self) -> &Dir {
        &self.root.dir
    }

    /// Where the export is mounted in the driver's own namespace.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.root.mount_point
    }

    /// The driver's own directory on the share. It is created if it does not exist.
    pub fn state(&self) -> Result<Arc<StateDir>> {
        let mut state = self.state.lock();
        match &*state {
            Some(state) => Ok(Arc::clone(state)),
            None => Ok(Arc::clone(state.insert(Arc::new(
                StateDir::create(self.share())?.with_abandoned_after(self.abandoned_after),
            )))),
        }
    }

    /// The driver's own directory on the share, or `None` if it does not exist. Creates nothing.
    pub fn existing_state(&self) -> Result<Option<Arc<StateDir>>> {
        let mut state = self.state.lock();
        if state.is_none() {
            let opened = StateDir::open(self.share())?;
            *state = opened.map(|state| Arc::new(state.with_abandoned_after(self.abandoned_after)));
        }
        Ok(state.clone())
    }

    /// Lets one call at a time check the free capacity of the export and reserve some of it.
    pub fn promise_turn(&self) -> MutexGuard<'_, ()> {
        self.promises.turn.lock()
    }

    /// The sum of the capacities of all volumes in bytes. The first call reads every record. After that the sum is updated at each change. A
    /// sum that has not been used for a while is computed again, because another controller may have changed volumes meanwhile.
    pub fn promised(&self, state: &StateDir) -> Result<u64> {
        let mut promised = self.promises.sum.lock();
        let sum = match *promised {
            Some((sum, used)) if used.elapsed() < COUNT_HOLDS => sum,
            _ => state.sum_of_capacities()?,
        };
        *promised = Some((sum, Instant::now()));
        Ok(sum)
    }

    /// Updates the sum after the capacity of a volume has changed from `before` to `after` bytes.
    pub fn promised_changed(&self, before: u64, after: u64) {
        if let Some((sum, _)) = self.promises.sum.lock().as_mut() {
            *sum = sum.saturating_sub(before).saturating_add(after);
        }
    }

    /// Which ways to copy files within this export the server supports, as far as that is known.
    pub fn copy_support(&self) -> &Support {
        &self.copy_support
    }

    /// Whether both are mounts of one export, even if their options differ.
    pub fn is_same_export(&self, other: &Self) -> bool {
        self.key.0 == other.key.0
    }

    /// Starts the reaper, unless it runs already. It removes what earlier processes have left.
    pub fn reap_once(&self, state: &Arc<StateDir>, legacy: ExportPolicy) {
        if self.reaper.lock().is_none() {
            self.reap(state, Some(legacy));
        }
    }

    /// Starts a sweep of the reaper, which removes what is deleted or abandoned in the background. `legacy` is for what version 0.1.0 has
    /// deleted ([`Reaper::wake`]). If its thread cannot be started, the next call tries that again.
    pub fn reap(&self, state: &Arc<StateDir>, legacy: Option<ExportPolicy>) {
        let mut reaper = self.reaper.lock();
        if reaper.is_none() {
            match Reaper::start(Arc::clone(state)) {
                Ok(started) => *reaper = Some(started),
                Err(error) => {
                    tracing::error!(%error, "cannot start the reaper; the next deletion tries again, and deleted volumes stay until then");
                    return;
                }
            }
        }
        if let Some(reaper) = &*reaper {
            reaper.wake(legacy);
        }
    }
}
