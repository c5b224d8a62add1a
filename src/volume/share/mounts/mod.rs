//! The exports that this process has mounted. There is one mount for each export and set of NFS options, and all volumes of the export share
//! it. An export is mounted when it is first used, and unmounted some time after it was last used.

mod mounted;
mod slot;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::linux::{MountTable, Mounter, NfsOptions, NfsSource, SysError, step};

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::reach::Reach;
use crate::volume::policy::settings::ResolvedExport;
use crate::volume::share::capacity::reservations::Reservations;
use crate::volume::share::process_dir::ABANDONED_AFTER;

use mounted::Key;
pub use mounted::MountedExport;
use slot::Slot;

/// All mounted exports.
pub struct Exports {
    mounter: Arc<dyn Mounter>,
    linger: Duration,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    /// The exports that were named inline since the process began.
    inline_used: Mutex<BTreeSet<ExportRef>>,
    /// The sum of capacities of each export, which all its mounts share.
    reservations: Mutex<HashMap<Vec<NfsSource>, Weak<Reservations>>>,
    abandoned_after: Duration,
}

impl Exports {
    /// `mounter` mounts the exports. An export that nothing has used for `linger` is unmounted.
    #[must_use]
    pub fn new(mounter: Arc<dyn Mounter>, linger: Duration) -> Self {
        Self {
            mounter,
            linger,
            slots: Mutex::default(),
            reservations: Mutex::default(),
            inline_used: Mutex::default(),
            abandoned_after: ABANDONED_AFTER,
        }
    }

    /// Sets the time without a sign of life after which another process counts as dead, and this one counts as dead for others.
    #[must_use]
    pub fn with_abandoned_after(self, abandoned_after: Duration) -> Self {
        Self { abandoned_after, ..self }
    }

    /// After how long without a sign of life this process counts as dead.
    #[must_use]
    pub fn abandoned_after(&self) -> Duration {
        self.abandoned_after
    }

    /// Does `work` with the export, mounted with `options`. If the server no longer knows the file handles of the mount, the export is mounted
    /// again and `work` is done a second time. It is also done a second time if it was denied, because the client may have denied it.
    pub fn with<T>(
        &self,
        export: &ResolvedExport,
        options: &NfsOptions,
        work: impl Fn(&MountedExport) -> Result<T>,
    ) -> Result<T> {
        let key = (export.sources.clone(), options.clone());
        let mounted = self.mount(&export.id, &key)?;
        step::begin(format!("a request to {}", mounted.share().label()));
        mounted.asker().assume();
        match work(&mounted) {
            Err(error) if error.is_stale() => {
                tracing::warn!(export = %export.id, error = %error, "the server no longer knows the file handles of the export; mounting it again");
                self.forget(&key, &mounted)?;
                let mounted = self.mount(&export.id, &key)?;
                mounted.asker().assume();
                work(&mounted)
            }
            // It may be what the client has kept of an earlier answer.
            Err(error) if error.is_denied() => {
                mounted.asker().change();
                work(&mounted)
                    .map_err(|error| if error.is_denied() { not_exported(&mounted, error) } else { error })
            }
            result => result,
        }
    }

    /// Does `work` with the export. If it is mounted already, with whatever options, `work` gets that mount. Otherwise it is mounted with
    /// `options`. This is for calls that know only the handle of a volume.
    /// If `options` say how to reach the server, only a mount that has reached it like this is used: another port can be another server.
    pub fn with_any<T>(
        &self,
        export: &ResolvedExport,
        options: &NfsOptions,
        work: impl Fn(&MountedExport) -> Result<T>,
    ) -> Result<T> {
        let mounted = |slot: &Slot| slot.try_lock().is_some_and(|mounted| mounted.is_some());
        let present = self
            .slots
            .lock()
            .iter()
            .find(|((sources, other), slot)| {
                let will_do = Reach::of(options).is_met_by(&Reach::of(other));
                sources == &export.sources && will_do && mounted(slot)
            })
            .map(|((_, options), _)| options.clone());
        self.with(export, present.as_ref().unwrap_or(options), work)
    }

    /// Mounts an export, unless it is mounted. Of the calls that begin at the same time one asks the server, and all get its answer. That no
    /// server answers is an answer for calls of the next seconds, too.
    fn mount(&self, export: &ExportRef, key: &Key) -> Result<Arc<MountedExport>> {
        let arrived = Instant::now();
        let own = Arc::clone(self.slots.lock().entry(key.clone()).or_default());
        step::begin_behind(format!("the mount of {export}, which another call has begun"), &own.mounting);
        let mut slot = own.lock();
        if let Some(mounted) = slot.as_ref() {
            mounted.is_used();
            return Ok(Arc::clone(mounted));
        }
        if let Some(failure) = own.failure_for(arrived) {
            return Err(Error::Mount(failure));
        }
        let begun = Instant::now();
        own.mounting.lead();
        let root = self.mounter.mount_export(&key.0, &key.1).map_err(|failure| {
            let failure = Arc::new(failure);
            own.fail(Arc::clone(&failure));
            self.forget_obsolete();
            Error::Mount(failure)
        })?;
        if matches!(export, ExportRef::Inline(_)) {
            self.inline_used.lock().insert(export.clone());
        }
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(export = %export, source = %root.dir.label(), version = %root.version, ms = milliseconds, "export mounted");
        let reservations = self.reservations_of(&key.0);
        let mounted = Arc::new(MountedExport::new(root, key.clone(), reservations, self.abandoned_after));
        *slot = Some(Arc::clone(&mounted));
        Ok(mounted)
    }

    /// The sum of capacities of the export with these addresses, which its other mounts may have already.
    fn reservations_of(&self, sources: &[NfsSource]) -> Arc<Reservations> {
        let mut all = self.reservations.lock();
        all.retain(|_, reservations| reservations.strong_count() > 0);
        all.get(sources).and_then(Weak::upgrade).unwrap_or_else(|| {
            let new = Arc::default();
            all.insert(sources.to_vec(), Arc::downgrade(&new));
            new
        })
    }

    fn forget(&self, key: &Key, stale: &Arc<MountedExport>) -> Result<()> {
        let Some(slot) = self.slots.lock().get(key).cloned() else { return Ok(()) };
        let mut slot = slot.lock();
        // Another call may have mounted the export again already.
        if slot.as_ref().is_some_and(|mounted| Arc::ptr_eq(mounted, stale)) {
            *slot = None;
            self.mounter.release_export(stale.root())?;
        }
        Ok(())
    }

    /// Removes the slots that nobody uses and that say nothing any more.
    fn forget_obsolete(&self) {
        self.slots.lock().retain(|_, slot| Arc::strong_count(slot) > 1 || !slot.is_obsolete());
    }

    /// Whether an export is mounted, or is being mounted.
    #[must_use]
    pub fn has_mounted(&self, export: &ResolvedExport) -> bool {
        let in_use = |slot: &Slot| slot.try_lock().is_none_or(|mounted| mounted.is_some());
        self.slots.lock().iter().any(|((sources, _), slot)| sources == &export.sources && in_use(slot))
    }

    /// The addresses and mount points of the exports that are mounted now. Does not wait for those that are being mounted.
    #[must_use]
    pub fn mounted(&self) -> Vec<(Vec<NfsSource>, PathBuf)> {
        let slots = self.slots.lock();
        let places = slots.iter().filter_map(|(key, slot)| Some((key.0.clone(), mount_point_of(slot)?)));
        places.collect()
    }

    /// The exports that were named inline and mounted at least once since the process began.
    #[must_use]
    pub fn inline_used(&self) -> BTreeSet<ExportRef> {
        self.inline_used.lock().clone()
    }

    /// Unmounts every export that neither a call nor a published volume has used for the linger time before `now`. The caller calls this
    /// regularly. Sends no request to a server.
    pub fn release_idle(&self, now: Instant) -> Result<(), Vec<SysError>> {
        let slots: Vec<_> =
            self.slots.lock().iter().map(|(key, slot)| (key.0[0].clone(), Arc::clone(slot))).collect();
        if slots.is_empty() {
            return Ok(());
        }
        let table = self.mounter.table().map_err(|error| vec![error])?;
        let own: HashSet<PathBuf> = slots.iter().filter_map(|(_, slot)| mount_point_of(slot)).collect();
        let mut failures = Vec::new();
        for (export, slot) in slots {
            // A locked slot means that the export is being mounted, so it is in use.
            let Some(mut slot) = slot.try_lock() else { continue };
            let idle = slot.as_ref().is_some_and(|mounted| self.is_idle(mounted, &table, &own, now));
            let unused = slot.take_if(|_| idle);
            // A call that needs the export meanwhile mounts it again, and does not wait for the unmount.
            drop(slot);
            if let Some(mounted) = unused {
                match self.mounter.release_export(mounted.root()) {
                    Ok(()) => tracing::info!(export = %export, "export unmounted, because it was not used"),
                    Err(error) => failures.push(error),
                }
            }
        }
        self.forget_obsolete();
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }

    /// Removes what this process has of its own on the exports, before the process ends. Waits for the servers at most for `limit`. What
    /// is left after that, or because of an error, is removed by another process.
    pub fn leave(&self, limit: Duration) {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        let mounted = |slot: &Slot| slot.try_lock()?.as_ref().map(Arc::clone);
        let (left, all_left) = channel::<()>();
        for mounted in slots.iter().filter_map(|slot| mounted(slot)) {
            let Some(state) = mounted.opened_state() else { continue };
            let left = left.clone();
            let leave = move || {
                mounted.finish_afterwards(limit);
                if let Err(error) = state.leave() {
                    tracing::debug!(%error, "cannot remove the directory of this process; another process will remove it");
                }
                drop(left);
            };
            // A thread for each export, because a server may be dead.
            if let Err(error) = std::thread::Builder::new().name("leave".to_owned()).spawn(leave) {
                tracing::debug!(%error, "cannot start a thread");
            }
        }
        drop(left);
        // Nothing is ever sent. The channel ends when the last thread has ended.
        let _ = all_left.recv_timeout(limit);
    }

    fn is_idle(
        &self,
        mounted: &Arc<MountedExport>,
        table: &MountTable,
        own: &HashSet<PathBuf>,
        now: Instant,
    ) -> bool {
        // All mounts of one superblock have the same device number. Those that are not exports of the driver are published volumes.
        let device = table.at(mounted.mount_point()).map(|mount| &mount.device);
        let published =
            table.iter().any(|mount| Some(&mount.device) == device && !own.contains(&mount.mount_point));
        if published || Arc::strong_count(mounted) > 1 || mounted.is_reaping() {
            mounted.is_used();
            return false;
        }
        mounted.idle(now) >= self.linger
    }
}

/// Finds out why the server denies something. One that squashes root still tells everybody the attributes of the share's top directory. NFS
/// request: GETATTR.
fn not_exported(mounted: &MountedExport, denied: Error) -> Error {
    match mounted.share().fresh() {
        Err(error) if error.is_denied() => Error::not_exported(&error),
        _ => denied,
    }
}

fn mount_point_of(slot: &Slot) -> Option<PathBuf> {
    slot.try_lock()?.as_ref().map(|mounted| mounted.mount_point().to_owned())
}

#[cfg(test)]
mod tests;
