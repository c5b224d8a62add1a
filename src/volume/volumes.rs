//! Finding an export, a volume or a set of snapshots by its handle.

use std::sync::Arc;

use crate::cluster::ReadClaims;
use crate::linux::NfsOptions;
use crate::linux::unpack::Archive;

use crate::volume::error::{Error, Result};
use crate::volume::jobs::CopyJobs;
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::name::snapshot_handle::SnapshotHandle;
use crate::volume::name::source::Source;
use crate::volume::policy::settings::{LiveSettings, ResolvedExport, Settings};
use crate::volume::policy::volume_context::VolumeContext;
use crate::volume::share::csi_driver_nfs_archive::CsiDriverNfsSnapshotHandle;
use crate::volume::share::directory::find_directory;
use crate::volume::share::mounts::Exports;
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::record::Record;
use crate::volume::share::snapshots::record::SnapshotRecord;
use crate::volume::share::snapshots::store::SnapshotSets;

/// What all work on volumes needs: the settings in force, the mounted exports, and the copies that are running.
pub struct Volumes {
    /// The configuration.
    pub settings: Arc<LiveSettings>,
    /// The exports that this process has mounted.
    pub exports: Arc<Exports>,
    /// The copies that are running.
    pub copies: Arc<CopyJobs>,
    /// Where the labels and annotations of claims are read.
    pub claims: Arc<dyn ReadClaims>,
}

/// The handle of a volume, and what is needed to reach its export.
pub(in crate::volume) struct ResolvedVolume {
    pub(in crate::volume) handle: VolumeHandle,
    pub(in crate::volume) export: ResolvedExport,
    pub(in crate::volume) options: NfsOptions,
    settings: Arc<Settings>,
}

impl Volumes {
    /// Parses a handle and finds its export. Returns `None` if the text is not a handle, so that there is no such volume. `secret` are
    /// mount options from the secrets of the call. Sends no request to a server.
    pub(in crate::volume) fn locate(
        &self,
        text: &str,
        secret: Option<&str>,
    ) -> Result<Option<ResolvedVolume>> {
        let Some(handle) = VolumeHandle::parse(text) else { return Ok(None) };
        let (export, options) = self.resolve(&handle.export, secret)?;
        Ok(Some(ResolvedVolume { handle, export, options, settings: self.settings.get() }))
    }

    /// Finds out where an export is and with which options it is mounted: those of the configuration and those of `secret`.
    pub(in crate::volume) fn resolve(
        &self,
        id: &ExportRef,
        secret: Option<&str>,
    ) -> Result<(ResolvedExport, NfsOptions)> {
        let export = self.settings.get().resolve(id)?;
        let (options, _) = export.options(secret.as_slice())?;
        Ok((export, options))
    }

    /// Does `work` with an export. If it is mounted already, with whatever options, `work` gets that mount. `secret` are
    /// mount options from the call's secrets.
    pub(in crate::volume) fn on_export<T>(
        &self,
        id: &ExportRef,
        secret: Option<&str>,
        work: impl Fn(&ResolvedExport, &MountedExport) -> Result<T>,
    ) -> Result<T> {
        let (export, options) = self.resolve(id, secret)?;
        self.exports.with_any(&export, &options, |mounted| work(&export, mounted))
    }

    /// Does `work` with the archive of a snapshot that csi-driver-nfs made. Returns `None` if there is no such snapshot.
    pub(in crate::volume) fn with_archive<T>(
        &self,
        handle: &CsiDriverNfsSnapshotHandle,
        secret: Option<&str>,
        work: impl Fn(&ResolvedExport, &MountedExport, &Archive) -> Result<T>,
    ) -> Result<Option<T>> {
        self.on_export(&ExportRef::Inline(handle.export.clone()), secret, |export, mounted| {
            handle.open(mounted.share())?.map(|archive| work(export, mounted, &archive)).transpose()
        })
    }

    /// Does `work` with the record of a volume. If there is no such volume, this is [`Error::NotFound`].
    pub(in crate::volume) fn with_record<T>(
        &self,
        text: &str,
        secret: Option<&str>,
        work: impl Fn(&MountedExport, &ResolvedVolume, Record) -> Result<T>,
    ) -> Result<T> {
        self.with_record_of(&self.existing(text, secret)?, work)
    }

    /// As [`Self::locate`], but a text that is no handle is [`Error::NotFound`].
    pub(in crate::volume) fn existing(&self, text: &str, secret: Option<&str>) -> Result<ResolvedVolume> {
        self.locate(text, secret)?.ok_or_else(|| not_found(text))
    }

    /// As [`Self::with_record`], for a handle that is resolved already.
    pub(in crate::volume) fn with_record_of<T>(
        &self,
        located: &ResolvedVolume,
        work: impl Fn(&MountedExport, &ResolvedVolume, Record) -> Result<T>,
    ) -> Result<T> {
        self.exports.with_any(&located.export, &located.options, |mounted| {
            let record = located.record(mounted)?.ok_or_else(|| not_found(&located.handle.to_string()))?;
            work(mounted, located, record)
        })
    }

    /// Wakes the reapers of the exports in the configuration, which remove what earlier processes have left to be removed. The
    /// failures are for the log: an export that cannot be mounted now is mounted when a call needs it.
    pub fn resume(&self, failed: impl Fn(Error) + Sync) {
        let settings = self.settings.get();
        let resume = |name: &String| {
            self.on_export(&ExportRef::Named(name.clone()), None, |_, mounted| {
                if let Some(state) = mounted.existing_state()? {
                    mounted.reap(&state, Some(settings.strictest_policy()));
                }
                Ok(())
            })
        };
        // Each export has a thread, so that one that does not answer does not delay the others.
        std::thread::scope(|scope| {
            for name in settings.exports.keys() {
                scope.spawn(|| resume(name).err().into_iter().for_each(&failed));
            }
        });
    }

    /// The record of the set of snapshots that a snapshot belongs to, if the set exists.
    pub(in crate::volume) fn read_set(
        &self,
        handle: &SnapshotHandle,
        secret: Option<&str>,
    ) -> Result<Option<SnapshotRecord>> {
        self.read_set_of(handle.kind(), &handle.export, &handle.key, secret)
    }

    /// The record of a set of snapshots, if it exists.
    pub(in crate::volume) fn read_set_of(
        &self,
        kind: Kind,
        export: &ExportRef,
        key: &VolumeKey,
        secret: Option<&str>,
    ) -> Result<Option<SnapshotRecord>> {
        Ok(self.with_sets(kind, export, secret, |sets| sets.read(key))?.flatten())
    }

    /// Does `work` with the sets of snapshots of one kind. Returns `None` if the export has never had such a set.
    pub(in crate::volume) fn with_sets<T>(
        &self,
        kind: Kind,
        export: &ExportRef,
        secret: Option<&str>,
        work: impl Fn(&SnapshotSets) -> Result<T>,
    ) -> Result<Option<T>> {
        self.on_export(export, secret, |_, mounted| {
            let Some(state) = mounted.existing_state()? else { return Ok(None) };
            SnapshotSets::open(&state, kind)?.map(|sets| work(&sets)).transpose()
        })
    }

    /// The record of the volume with this handle.
    pub fn find(&self, text: &str) -> Result<Record> {
        self.with_record(text, None, |_, _, record| Ok(record))
    }
}

impl ResolvedVolume {
    /// The record of the volume, if the volume exists. A volume of csi-driver-nfs may have no record. If its directory exists, its record is
    /// made of what the handle says.
    pub(in crate::volume) fn record(&self, mounted: &MountedExport) -> Result<Option<Record>> {
        if let Some(state) = mounted.existing_state()?
            && let Some(record) = state.read(&self.handle.key)?
        {
            return Ok(Some(record));
        }
        let Some(written) = &self.handle.csi_driver_nfs else { return Ok(None) };
        let exists = find_directory(mounted.share(), &written.sub_dir)?.is_some();
        Ok(exists.then(|| Record {
            on_delete: written.on_delete.unwrap_or(self.settings.on_delete),
            ..Record::new(self.handle.to_string(), written.sub_dir.clone())
        }))
    }
}

/// The volume context of a volume with this handle and record.
#[must_use]
pub fn context_of(handle: &VolumeHandle, record: &Record) -> VolumeContext {
    VolumeContext {
        export: Some(handle.export.clone()),
        sub_dir: Some(record.sub_dir.clone()),
        direct_mount: record.direct_mount,
        ..VolumeContext::default()
    }
}

/// The error for a handle of csi-driver-nfs whose directory belongs to another volume, which has a record.
pub(in crate::volume) fn alias(handle: &VolumeHandle, owner: &str) -> Error {
    Error::Precondition(format!(
        "the directory of {handle} belongs to another volume: {owner}; use the handle of that volume"
    ))
}

/// The error for a handle of which there is no volume.
#[must_use]
pub fn not_found(handle: &str) -> Error {
    Error::NotFound(format!("there is no volume {handle:?}"))
}

/// A volume as the answer to the orchestrator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The handle.
    pub handle: VolumeHandle,
    /// What NodePublishVolume needs to find the volume.
    pub context: VolumeContext,
    /// Its capacity in bytes; 0 if none was asked for.
    pub capacity_bytes: u64,
    /// What it was filled with; `None` if it began empty.
    pub source: Option<Source>,
}

impl Volume {
    /// The volume with this handle and record.
    #[must_use]
    pub fn new(handle: VolumeHandle, record: &Record) -> Self {
        Self {
            context: context_of(&handle, record),
            capacity_bytes: record.capacity_bytes,
            source: record.source.clone(),
            handle,
        }
    }
}
