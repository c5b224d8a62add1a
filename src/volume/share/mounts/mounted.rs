//! One mounted export, with what this process keeps of it as long as it is mounted.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::linux::copy::Support;
use crate::linux::{Asker, Dir, ExportRoot, NfsOptions, NfsSource};

use crate::volume::error::{Error, Result};
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::afterwards::Afterwards;
use crate::volume::share::capacity::reservations::Reservations;
use crate::volume::share::reaper::Reaper;
use crate::volume::share::state_dir::StateDir;

/// Where the export is, and how it is mounted.
pub(super) type Key = (Vec<NfsSource>, NfsOptions);

/// One mounted export. Its handles stay usable after it is unmounted.
pub struct MountedExport {
    root: ExportRoot,
    state: Mutex<Option<Arc<StateDir>>>,
    reaper: Mutex<Option<Reaper>>,
    afterwards: Afterwards,
    idle_since: Mutex<Option<Instant>>,
    abandoned_after: Duration,
    reservations: Arc<Reservations>,
    key: Key,
    copy_support: Support,
    asker: Asker,
}

impl MountedExport {
    /// An export that has just been mounted.
    pub(super) fn new(
        root: ExportRoot,
        key: Key,
        reservations: Arc<Reservations>,
        abandoned_after: Duration,
    ) -> Self {
        Self {
            root,
            state: Mutex::default(),
            reaper: Mutex::default(),
            afterwards: Afterwards::default(),
            idle_since: Mutex::default(),
            abandoned_after,
            reservations,
            key,
            copy_support: Support::same_export(),
            asker: Asker::default(),
        }
    }

    /// What was mounted, to unmount it.
    pub(super) fn root(&self) -> &ExportRoot {
        &self.root
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
        self.afterwards.is_pending() || self.reaper.lock().as_ref().is_some_and(Reaper::is_pending)
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

    /// The driver's own directory on the share, if this process has opened it. Does not wait for a call that opens it now.
    pub(super) fn opened_state(&self) -> Option<Arc<StateDir>> {
        self.state.try_lock()?.clone()
    }

    /// The capacity that the volumes of this export have reserved.
    pub fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// Which ways to copy files within this export the server supports, as far as that is known.
    pub fn copy_support(&self) -> &Support {
        &self.copy_support
    }

    /// As whom the NFS client asks the server.
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Whether both are mounts of one export, even if their options differ.
    pub fn is_same_export(&self, other: &Self) -> bool {
        self.key.0 == other.key.0
    }

    /// Does `work` in the background, because the caller of the call need not wait for it. If `work` returns a policy, a sweep of the reaper
    /// starts afterwards, with that for what version 0.1.0 has deleted. If it fails, the sweep finishes it. The sweep of another process
    /// finishes it if this one is killed before.
    pub fn afterwards(&self, work: impl FnOnce() -> Result<Option<ExportPolicy>> + Send + 'static) {
        let reaper = self.reaper.lock().as_ref().map(Reaper::waker);
        self.afterwards.run(move || {
            let legacy = match work() {
                Ok(None) => return,
                Ok(legacy) => legacy,
                // The volume was deleted or made again by somebody else, and everything is in its place.
                Err(error @ Error::Busy(_)) => {
                    tracing::info!(%error, "nothing is left to be done");
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "the driver tries again to finish this");
                    None
                }
            };
            if let Some(wake) = reaper {
                wake(legacy);
            }
        });
    }

    /// Waits until everything is done that calls have left for after their answers, but not longer than `limit`.
    pub(super) fn finish_afterwards(&self, limit: Duration) {
        let begun = Instant::now();
        while self.afterwards.is_pending() && begun.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
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
        if reaper.as_ref().is_some_and(|reaper| !reaper.wake(legacy)) {
            // Its thread has panicked. The next call starts another one.
            *reaper = None;
        }
    }
}
