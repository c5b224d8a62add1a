//! The exports that this process has mounted. There is one mount for each export and set of NFS options, and all volumes of the export share
//! it. An export is mounted when it is first used, and unmounted some time after it was last used.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::linux::copy::Support;
use crate::linux::{Dir, ExportRoot, MountTable, Mounter, NfsOptions, NfsSource, SysError, step};

use crate::volume::error::Result;
use crate::volume::name::export::ExportRef;
use crate::volume::name::reach::Reach;
use crate::volume::policy::settings::{ExportPolicy, ResolvedExport};
use crate::volume::share::process_dir::ABANDONED_AFTER;
use crate::volume::share::reaper::Reaper;
use crate::volume::share::reservations::Reservations;
use crate::volume::share::state_dir::StateDir;

/// All mounted exports.
pub struct Exports {
    mounter: Arc<dyn Mounter>,
    linger: Duration,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    /// The exports that were named inline since the process began.
    inline_used: Mutex<BTreeSet<ExportRef>>,
    abandoned_after: Duration,
}

/// Where the export is, and how it is mounted.
type Key = (Vec<NfsSource>, NfsOptions);

/// It is locked while the export is being mounted, so that calls that begin at the same time make one mount.
type Slot = Mutex<Option<Arc<MountedExport>>>;

/// One mounted export. Its handles stay usable after it is unmounted.
pub struct MountedExport {
    root: ExportRoot,
    state: Mutex<Option<Arc<StateDir>>>,
    reaper: Mutex<Option<Reaper>>,
    idle_since: Mutex<Option<Instant>>,
    abandoned_after: Duration,
    reservations: Arc<Reservations>,
    key: Key,
    copy_support: Support,
}

impl MountedExport {
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

    /// The capacity that the volumes of this export have reserved.
    pub fn reservations(&self) -> &Reservations {
        &self.reservations
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

impl Exports {
    /// `mounter` mounts the exports. An export that nothing has used for `linger` is unmounted.
    #[must_use]
    pub fn new(mounter: Arc<dyn Mounter>, linger: Duration) -> Self {
        Self {
            mounter,
            linger,
            slots: Mutex::default(),
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
    /// again and `work` is done a second time.
    pub fn with<T>(
        &self,
        export: &ResolvedExport,
        options: &NfsOptions,
        work: impl Fn(&MountedExport) -> Result<T>,
    ) -> Result<T> {
        let key = (export.sources.clone(), options.clone());
        let mounted = self.mount(&export.id, &key)?;
        step::begin(format!("a request to {}", mounted.share().label()));
        match work(&mounted) {
            Err(error) if error.is_stale() => {
                tracing::warn!(export = %export.id, error = %error, "the server no longer knows the file handles of the export; mounting it again");
                self.forget(&key, &mounted)?;
                work(self.mount(&export.id, &key)?.as_ref())
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

    fn mount(&self, export: &ExportRef, key: &Key) -> Result<Arc<MountedExport>> {
        let slot = Arc::clone(self.slots.lock().entry(key.clone()).or_default());
        let mut slot = slot.lock();
        if let Some(mounted) = slot.as_ref() {
            *mounted.idle_since.lock() = None;
            return Ok(Arc::clone(mounted));
        }
        if matches!(export, ExportRef::Inline(_)) {
            self.inline_used.lock().insert(export.clone());
        }
        let begun = Instant::now();
        let root = self.mounter.mount_export(&key.0, &key.1)?;
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(export = %export, source = %root.dir.label(), version = %root.version, ms = milliseconds, "export mounted");
        let mounted = Arc::new(MountedExport {
            root,
            state: Mutex::default(),
            reaper: Mutex::default(),
            idle_since: Mutex::default(),
            abandoned_after: self.abandoned_after,
            reservations: self.reservations_of(&key.0),
            key: key.clone(),
            copy_support: Support::same_export(),
        });
        *slot = Some(Arc::clone(&mounted));
        Ok(mounted)
    }

    /// The sum of capacities of the export with these addresses, which its other mounts may have already.
    fn reservations_of(&self, sources: &[NfsSource]) -> Arc<Reservations> {
        let slots = self.slots.lock();
        let same = slots.iter().filter(|((own, _), _)| own == sources);
        let reservations = |slot: &Slot| Some(Arc::clone(&slot.try_lock()?.as_ref()?.reservations));
        let shared = same.map(|(_, slot)| reservations(slot)).find_map(|found| found);
        shared.unwrap_or_default()
    }

    fn forget(&self, key: &Key, stale: &Arc<MountedExport>) -> Result<()> {
        let Some(slot) = self.slots.lock().get(key).cloned() else { return Ok(()) };
        let mut slot = slot.lock();
        // Another call may have mounted the export again already.
        if slot.as_ref().is_some_and(|mounted| Arc::ptr_eq(mounted, stale)) {
            *slot = None;
            self.mounter.release_export(&stale.root)?;
        }
        Ok(())
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
                match self.mounter.release_export(&mounted.root) {
                    Ok(()) => tracing::info!(export = %export, "export unmounted, because it was not used"),
                    Err(error) => failures.push(error),
                }
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures) }
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
        let called =
            Arc::strong_count(mounted) > 1 || mounted.reaper.lock().as_ref().is_some_and(Reaper::is_pending);
        let mut idle_since = mounted.idle_since.lock();
        if published || called {
            *idle_since = None;
            return false;
        }
        now.saturating_duration_since(*idle_since.get_or_insert(now)) >= self.linger
    }
}

fn mount_point_of(slot: &Slot) -> Option<PathBuf> {
    slot.try_lock()?.as_ref().map(|mounted| mounted.mount_point().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fake::FakeMounter;
    use crate::linux::nfs_options::{self, BindFlags};
    use crate::volume::name::export::Export;
    use crate::volume::policy::settings::Settings;

    struct Setup {
        _temporary: tempfile::TempDir,
        mounter: Arc<FakeMounter>,
        exports: Exports,
        export: ResolvedExport,
    }

    fn setup() -> Setup {
        let temporary = tempfile::tempdir().unwrap();
        let mounter = Arc::new(FakeMounter::default());
        mounter.serve("nas:/srv", temporary.path());
        let exports = Exports::new(mounter.clone(), Duration::from_mins(1));
        let export = ExportRef::Inline(Export::new("nas", "/srv").unwrap());
        let export = Settings::default().resolve(&export).unwrap();
        Setup { _temporary: temporary, mounter, exports, export }
    }

    #[test]
    fn equal_options_share_a_mount_and_others_do_not() {
        let setup = setup();
        let options = |text: &str| nfs_options::parse(&[text]).unwrap().0;
        for text in ["hard,timeo=600", "timeo=600,hard", "timeo=600,hard,ro"] {
            setup.exports.with(&setup.export, &options(text), |_| Ok(())).unwrap();
        }
        assert_eq!(setup.mounter.export_mounts(), 1);
        setup.exports.with(&setup.export, &options("soft"), |_| Ok(())).unwrap();
        assert_eq!(setup.mounter.export_mounts(), 2);
        setup.exports.with_any(&setup.export, &NfsOptions::default(), |_| Ok(())).unwrap();
        assert_eq!(setup.mounter.export_mounts(), 2);
    }

    #[test]
    fn an_export_is_let_go_when_idle_for_long_enough_and_not_while_published() {
        let setup = setup();
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mounts = || setup.mounter.table().unwrap().iter().count();
        let options = NfsOptions::default();
        let target = Path::new("/kubelet/target");
        let publish = |mounted: &MountedExport| {
            Ok(setup.mounter.bind(mounted.share(), target, BindFlags::default())?)
        };
        setup.exports.with(&setup.export, &options, publish).unwrap();
        for seconds in [0, 100, 200] {
            setup.exports.release_idle(after(seconds)).unwrap();
        }
        assert_eq!(mounts(), 2, "published volumes keep the export mounted");
        setup.mounter.unmount(target).unwrap();
        setup.exports.release_idle(after(300)).unwrap();
        setup.exports.release_idle(after(359)).unwrap();
        assert_eq!(mounts(), 1, "it lingers");
        setup.exports.release_idle(after(360)).unwrap();
        assert_eq!(mounts(), 0);
        setup.exports.with(&setup.export, &options, |_| Ok(())).unwrap();
        assert_eq!(mounts(), 1, "the next use mounts it again");
    }
}
