//! Finding a volume by its handle.

use std::sync::Arc;

use crate::linux::NfsOptions;

use super::context::VolumeContext;
use super::exports::MountedExport;
use super::parameters::Ownership;
use super::provision::find_directory;
use super::record::Record;
use super::settings::{LiveSettings, ResolvedExport, Settings};
use super::{Copies, Error, ExportRef, Exports, Result, VolumeHandle};

/// What everything that is done with volumes needs: the settings in force, and the exports.
pub struct Volumes {
    /// The configuration.
    pub settings: Arc<LiveSettings>,
    /// The exports this process has mounted.
    pub exports: Arc<Exports>,
    /// The copies under way.
    pub copies: Arc<Copies>,
}

/// A handle with what has to be known to work on its volume.
pub(super) struct Located {
    pub(super) handle: VolumeHandle,
    pub(super) export: ResolvedExport,
    pub(super) options: NfsOptions,
    settings: Arc<Settings>,
}

impl Volumes {
    /// Where the volume of a handle is to be looked for. `None`: the text is no handle, so there is no volume.
    /// `secret` are mount options from the call's secrets.
    pub(super) fn locate(&self, text: &str, secret: Option<&str>) -> Result<Option<Located>> {
        let Some(handle) = VolumeHandle::parse(text) else { return Ok(None) };
        let settings = self.settings.get();
        let export = settings.resolve(&handle.export)?;
        let (options, _) = export.options(secret.as_slice())?;
        Ok(Some(Located { handle, export, options, settings }))
    }

    /// Does `work` with the record of a volume, or says that there is none.
    pub(super) fn with_record<T>(
        &self,
        text: &str,
        secret: Option<&str>,
        work: impl Fn(&MountedExport, &Located, Record) -> Result<T>,
    ) -> Result<T> {
        let located = self.locate(text, secret)?.ok_or_else(|| not_found(text))?;
        self.exports.with_any(&located.export, &located.options, |mounted| {
            let record = located.record(mounted)?.ok_or_else(|| not_found(text))?;
            work(mounted, &located, record)
        })
    }

    /// Goes on with what an earlier process left in the trash of the exports in the configuration. The failures are
    /// for the log: a server that is away now is met again when somebody needs it.
    #[must_use]
    pub fn resume(&self) -> Vec<Error> {
        let settings = self.settings.get();
        let resume = |name: &String| {
            let export = settings.resolve(&ExportRef::Named(name.clone()))?;
            let (options, _) = export.options::<&str>(&[])?;
            self.exports.with_any(&export, &options, |mounted| {
                if let Some(state) = mounted.existing_state()? {
                    mounted.reap(&state, export.policy);
                }
                Ok(())
            })
        };
        settings.exports.keys().filter_map(|name| resume(name).err()).collect()
    }

    /// The record of a volume.
    pub fn find(&self, text: &str) -> Result<Record> {
        self.with_record(text, None, |_, _, record| Ok(record))
    }
}

impl Located {
    /// The volume's record. A volume of csi-driver-nfs that has none is described by its handle, if its directory is
    /// there.
    pub(super) fn record(&self, mounted: &MountedExport) -> Result<Option<Record>> {
        if let Some(state) = mounted.existing_state()?
            && let Some(record) = state.read(&self.handle.key)?
        {
            return Ok(Some(record));
        }
        let Some(foreign) = &self.handle.foreign else { return Ok(None) };
        let exists = find_directory(mounted.share(), &foreign.sub_dir)?.is_some();
        Ok(exists.then(|| Record {
            name: self.handle.to_string(),
            sub_dir: foreign.sub_dir.clone(),
            capacity_bytes: 0,
            on_delete: foreign.on_delete.unwrap_or(self.settings.on_delete),
            ownership: Ownership::default(),
            direct_mount: false,
            source: None,
            created: 0,
        }))
    }
}

/// The context of a volume with this record.
#[must_use]
pub fn context_of(handle: &VolumeHandle, record: &Record) -> VolumeContext {
    VolumeContext {
        export: Some(handle.export.clone()),
        sub_dir: Some(record.sub_dir.clone()),
        direct_mount: record.direct_mount,
        ..VolumeContext::default()
    }
}

/// The error for a handle that names no volume.
#[must_use]
pub fn not_found(handle: &str) -> Error {
    Error::NotFound(format!("there is no volume {handle:?}"))
}
