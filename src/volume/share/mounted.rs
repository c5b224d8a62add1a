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

/// For how long a count of promises that nobody uses is taken for right.
const COUNT_HOLDS: Duration = Duration::from_mins(1);

/// Where the export is, and how it is mounted.
pub(super) type Key = (Vec<NfsSource>, NfsOptions);

/// One mounted export. Whoever holds it may use its handles; they outlive the mount itself.
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

/// What is promised on one export, however often it is mounted.
#[derive(Default)]
pub(super) struct Promises {
    /// Held from the look at what is left until the promise is written.
    turn: Mutex<()>,
    /// Bytes promised to all volumes, once somebody has wanted to know, and when that was last right.
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

    /// The driver's own directory on the share. It is made if it is not there.
    pub fn state(&self) -> Result<Arc<StateDir>> {
        let mut state = self.state.lock();
        match &*state {
            Some(state) => Ok(Arc::clone(state)),
            None => Ok(Arc::clone(state.insert(Arc::new(
                StateDir::create(self.share())?.with_abandoned_after(self.abandoned_after),
            )))),
        }
    }

    /// As [`Self::state`], but `None` if this driver has never made anything on the share.
    pub fn existing_state(&self) -> Result<Option<Arc<StateDir>>> {
        let mut state = self.state.lock();
        if state.is_none() {
            let opened = StateDir::open(self.share())?;
            *state = opened.map(|state| Arc::new(state.with_abandoned_after(self.abandoned_after)));
        }
        Ok(state.clone())
    }

    /// The right to make a promise on this export. One call at a time has it.
    pub fn promise_turn(&self) -> MutexGuard<'_, ()> {
        self.promises.turn.lock()
    }

    /// Bytes promised to all volumes with a record. Reads every record the first time, and keeps count from then on; a
    /// count that has not been used for a while is made revalidate, since another controller may have taken over meanwhile.
    pub fn promised(&self, state: &StateDir) -> Result<u64> {
        let mut promised = self.promises.sum.lock();
        let sum = match *promised {
            Some((sum, used)) if used.elapsed() < COUNT_HOLDS => sum,
            _ => state.sum_of_capacities()?,
        };
        *promised = Some((sum, Instant::now()));
        Ok(sum)
    }

    /// Says that a volume's promise has changed from `before` to `after` bytes.
    pub fn promised_changed(&self, before: u64, after: u64) {
        if let Some((sum, _)) = self.promises.sum.lock().as_mut() {
            *sum = sum.saturating_sub(before).saturating_add(after);
        }
    }

    /// How files are copied within this export, as far as that is known.
    pub fn copy_support(&self) -> &Support {
        &self.copy_support
    }

    /// Whether it is the same directory on the same server, however it is mounted.
    pub fn is_same_export(&self, other: &Self) -> bool {
        self.key.0 == other.key.0
    }

    /// Has what earlier processes left removed, unless that has begun already.
    pub fn reap_once(&self, state: &Arc<StateDir>, legacy: ExportPolicy) {
        if self.reaper.lock().is_none() {
            self.reap(state, Some(legacy));
        }
    }

    /// Has what is deleted and what is abandoned removed in the background. `legacy` is for what version 0.1.0 has deleted
    /// ([`Reaper::wake`]). A thread that cannot be started is tried again at the next call.
    pub fn reap(&self, state: &Arc<StateDir>, legacy: Option<ExportPolicy>) {
        let mut reaper = self.reaper.lock();
        if reaper.is_none() {
            match Reaper::start(Arc::clone(state)) {
                Ok(started) => *reaper = Some(started),
                Err(error) => {
                    tracing::error!(%error, "cannot start the reaper; deleted volumes are removed after the next try");
                    return;
                }
            }
        }
        if let Some(reaper) = &*reaper {
            reaper.wake(legacy);
        }
    }
}
