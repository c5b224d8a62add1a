//! Filling a new volume from a snapshot or from another volume.

use crate::linux::Dir;
use crate::linux::copy::Progress;

use crate::volume::controller::create::NewVolume;
use crate::volume::error::explain_denied;
use crate::volume::error::several;
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::directory::make_parents;
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::process_dir::Draft;
use crate::volume::share::record::Record;
use crate::volume::volumes::Volumes;

impl Volumes {
    /// Fills a promised volume from its source and puts it in its place. If that fails the promise is taken back.
    pub(in crate::volume) fn fill(
        &self,
        new: &NewVolume,
        key: &VolumeKey,
        record: &Record,
        progress: &Progress,
    ) -> Result<()> {
        self.exports.with(&new.export, &new.options, |mounted| {
            let state = mounted.state()?;
            let (draft, dir) = state.draft_dir(key.as_str(), 0o700)?;
            let filled = self.fill_draft(new, key, record, mounted, (&draft, &dir), progress);
            let Err(reason) = filled else { return Ok(()) };
            if reason.is_stale() {
                // With these handles nothing can be removed. The next try finds the record and begins anew.
                return Err(reason);
            }
            let cleaned = draft.remove().and_then(|()| state.remove(key));
            match &cleaned {
                Ok(()) => mounted.promised_changed(record.capacity_bytes, 0),
                // The draft is removed by the next sweep.
                Err(_) => mounted.reap(&state, None),
            }
            Err(several(std::iter::once(reason).chain(cleaned.err()).collect()))
        })
    }

    fn fill_draft(
        &self,
        new: &NewVolume,
        key: &VolumeKey,
        record: &Record,
        mounted: &MountedExport,
        (draft, dir): (&Draft, &Dir),
        progress: &Progress,
    ) -> Result<()> {
        let state = mounted.state()?;
        let source = record.source.as_ref().ok_or(Error::Missing("volume_content_source"))?;
        let mut origin = self.origin(source, new.secret.as_deref())?;
        origin.limit = Some(record.capacity_bytes).filter(|bytes| *bytes > 0 && new.capacity.required > 0);
        self.copy(&origin, mounted, &state, key, dir, progress)?;
        // The tree's own top directory is copied with it; only what the StorageClass says is set anew.
        let owner = new.owner();
        if owner.uid.is_some() || owner.gid.is_some() {
            dir.set_owner(owner.uid, owner.gid).map_err(explain_denied)?;
        }
        if let Some(mode) = owner.mode {
            dir.set_mode(mode).map_err(explain_denied)?;
        }
        let (parent, name) = record.sub_dir.split();
        let made_parent = parent.map(|parent| make_parents(mounted.share(), parent)).transpose()?;
        let parent = made_parent.as_ref().unwrap_or(mounted.share());
        // rename(2) would put it in the place of an empty directory.
        if parent.is_dir(name)?.is_some() {
            return Err(Error::AlreadyExists(format!("{}/{name} was made meanwhile", parent.label())));
        }
        draft.place(parent, name)
    }
}
