//! The exports this process has mounted: one mount for each export and set of NFS options, shared by all
//! volumes on it, made at first use and let go of some time after the last.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::linux::copy::Support;
use crate::linux::{Dir, ExportRoot, MountTable, Mounter, NfsOptions, NfsSource, SysError, step};

use crate::volume::error::Result;
use crate::volume::name::export::ExportRef;
use crate::volume::policy::settings::{ExportPolicy, ResolvedExport};
use crate::volume::share::process_dir::ABANDONED_AFTER;
use crate::volume::share::reaper::Reaper;
use crate::volume::share::state_dir::StateDir;

/// For how long a count of promises that nobody uses is taken for right.
const COUNT_HOLDS: Duration = Duration::from_mins(1);

/// All mounted exports.
pub struct Exports {
    mounter: Arc<dyn Mounter>,
    linger: Duration,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    /// Exports that were named inline, since the process began.
    inline_used: Mutex<BTreeSet<ExportRef>>,
    abandoned_after: Duration,
}

/// Where the export is, and how it is mounted.
type Key = (Vec<NfsSource>, NfsOptions);

/// Locked while the export is being mounted, so that many first users make one mount.
type Slot = Mutex<Option<Arc<MountedExport>>>;

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
struct Promises {
    /// Held from the look at what is left until the promise is written.
    turn: Mutex<()>,
    /// Bytes promised to all volumes, once somebody has wanted to know, and when that was last right.
    sum: Mutex<Option<(u64, Instant)>>,
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

impl Exports {
    /// Exports are mounted by `mounter`, and let go of when nothing has used them for `linger`.
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

    /// Sets after how long without a sign of life another process counts as dead, and this one to others.
    #[must_use]
    pub fn with_abandoned_after(self, abandoned_after: Duration) -> Self {
        Self { abandoned_after, ..self }
    }

    /// After how long without a sign of life this process counts as dead.
    #[must_use]
    pub fn abandoned_after(&self) -> Duration {
        self.abandoned_after
    }

    /// Does `work` with the export mounted with `options`. If the server no longer knows the handles the mount
    /// began with, it is mounted anew and `work` is done again.
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
                tracing::warn!(export = %export.id, error = %error, "stale handle; mounting the export anew");
                self.forget(&key, &mounted)?;
                work(self.mount(&export.id, &key)?.as_ref())
            }
            result => result,
        }
    }

    /// Does `work` with the export mounted with whatever options it is mounted with, or else with `options`: for
    /// calls that name a volume by its handle alone.
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
            .find(|((sources, _), slot)| sources == &export.sources && mounted(slot))
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
            promises: self.promises_of(&key.0),
            key: key.clone(),
            copy_support: Support::same_export(),
        });
        *slot = Some(Arc::clone(&mounted));
        Ok(mounted)
    }

    /// The promises of the export at these sources, shared with its other mounts.
    fn promises_of(&self, sources: &[NfsSource]) -> Arc<Promises> {
        let slots = self.slots.lock();
        let same = slots.iter().filter(|((own, _), _)| own == sources);
        let promises = |slot: &Slot| Some(Arc::clone(&slot.try_lock()?.as_ref()?.promises));
        let shared = same.map(|(_, slot)| promises(slot)).find_map(|promises| promises);
        shared.unwrap_or_default()
    }

    fn forget(&self, key: &Key, stale: &Arc<MountedExport>) -> Result<()> {
        let Some(slot) = self.slots.lock().get(key).cloned() else { return Ok(()) };
        let mut slot = slot.lock();
        // Another call may have mounted anew already.
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

    /// Lets go of every export that neither a call nor a published volume has used for the linger time before
    /// `now`. To be called now and then. Asks no server anything.
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
            // Locked: it is being mounted, so it is in use.
            let Some(mut slot) = slot.try_lock() else { continue };
            let idle = slot.as_ref().is_some_and(|mounted| self.is_idle(mounted, &table, &own, now));
            let unused = slot.take_if(|_| idle);
            // Whoever needs the export meanwhile mounts it revalidate, and does not wait for this.
            drop(slot);
            if let Some(mounted) = unused {
                match self.mounter.release_export(&mounted.root) {
                    Ok(()) => tracing::info!(export = %export, "export unused, let go"),
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
        // All mounts of one superblock have one device number; those that are not the driver's are volumes.
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
