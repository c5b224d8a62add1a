//! Comparing a volume with a volume context.

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::policy::volume_context::VolumeContext;
use crate::volume::share::directory::find_directory;
use crate::volume::share::record::Record;
use crate::volume::share::whole_share;
use crate::volume::volumes::{Volumes, context_of, not_found};

impl Volumes {
    /// Returns what is wrong with the context of a volume, or `None` if it is right. A context without an export is always right.
    ///
    /// If the volume has a record, the context is compared with the record. Otherwise the context alone says where the volume is, as at a
    /// publish, because the handle of a PersistentVolume that was written by hand can be any text. Fails with [`Error::NotFound`] if there is no
    /// such volume.
    ///
    /// NFS requests on a mounted export: 3 for the record, and without a record one LOOKUP for each component of the directory.
    pub fn compare(&self, text: &str, given: &VolumeContext) -> Result<Option<String>> {
        if let Some((handle, record)) = self.record_for(text, given)? {
            let own = context_of(&handle, &record);
            let place = |context: &VolumeContext| context.export.as_ref().map(ExportRef::place);
            let same = (place(given), &given.sub_dir, given.direct_mount)
                == (place(&own), &own.sub_dir, own.direct_mount);
            let reason = "the volume context is not the one that this volume was created with";
            return Ok((!same && given.export.is_some()).then(|| reason.to_owned()));
        }
        let export = given.export.as_ref().ok_or_else(|| not_found(text))?;
        self.look_for(export, given)
    }

    /// The record of a volume, if it has one.
    fn record_for(&self, text: &str, given: &VolumeContext) -> Result<Option<(VolumeHandle, Record)>> {
        let Some(handle) = VolumeHandle::parse(text) else { return Ok(None) };
        // A text that looks like a handle by chance may name an export that does not exist.
        if given.export.is_some() && self.settings.get().resolve(&handle.export).is_err() {
            return Ok(None);
        }
        match self.find(text) {
            Ok(record) => Ok(Some((handle, record))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks for the directory that a context names, as a publish does.
    fn look_for(&self, export: &ExportRef, given: &VolumeContext) -> Result<Option<String>> {
        let settings = self.settings.get();
        let export = settings.resolve(export)?;
        let (options, _) = export.options(given.mount_options.as_slice())?;
        if given.sub_dir.is_none() {
            whole_share::require_listed(&settings, &export)?;
        }
        let found = self.exports.with_any(&export, &options, |mounted| match &given.sub_dir {
            Some(sub_dir) => Ok(find_directory(mounted.share(), sub_dir)?.is_some()),
            None => whole_share::open(mounted.share()).map(|_| true),
        })?;
        let missing = || format!("{}: the volume's directory does not exist on the server", export.id);
        if found { Ok(None) } else { Err(Error::NotFound(missing())) }
    }
}
