//! Filling a new volume from a snapshot or from another volume.

use crate::linux::Dir;
use crate::linux::copy::Progress;

use crate::volume::controller::create::NewVolume;
use crate::volume::copy::tree::Destination;
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::claims::HeldRecord;
use crate::volume::share::directory::find_now;
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::process_dir::{Draft, draft_of_volume};
use crate::volume::share::quota::limit::Limit;
use crate::volume::share::state_dir::StateDir;
use crate::volume::volumes::Volumes;

impl Volumes {
    /// Fills a volume, which has a record already, from its source, and moves its directory into place. If that fails, the record is removed.
    pub(in crate::volume) fn fill(
        &self,
        new: &NewVolume,
        key: &VolumeKey,
        progress: &Progress,
    ) -> Result<()> {
        self.exports.with(&new.export, &new.options, |mounted| {
            let state = mounted.state()?;
            // Without a record the volume was deleted meanwhile.
            let held = state.hold(key)?.ok_or(Error::Cancelled)?;
            let (draft, dir) = state.draft_dir(&draft_of_volume(key), 0o700)?;
            // What is written before the directory has its limit would not be counted.
            if let Some(limit) = Limit::of(key, &held.record, new.export.policy.quota)
                && let Err(reason) = limit.wait(mounted.share(), &state, &dir, new.export.policy.quota)
            {
                return Err(reason.with_cleanup(draft.remove()));
            }
            let filled = self.fill_draft(new, &held, mounted, (&draft, &dir), progress);
            let Err(reason) = filled else { return Ok(()) };
            if reason.is_stale() {
                // Nothing can be removed by stale handles. The next attempt finds the record and starts again.
                return Err(reason);
            }
            let removed = draft.remove();
            if removed.is_err() {
                // The next sweep removes the draft.
                mounted.reap(&state, None);
            }
            Err(reason.with_cleanup(removed).with_cleanup(withdraw(mounted, &state, &held)))
        })
    }

    fn fill_draft(
        &self,
        new: &NewVolume,
        held: &HeldRecord,
        mounted: &MountedExport,
        (draft, dir): (&Draft, &Dir),
        progress: &Progress,
    ) -> Result<()> {
        let (state, record, key) = (mounted.state()?, &held.record, &held.key);
        let source = record.source.as_ref().ok_or(Error::Missing("volume_content_source"))?;
        let mut origin = self.origin(source, new.secret.as_deref())?;
        origin.limit = Some(record.capacity_bytes).filter(|bytes| *bytes > 0 && new.capacity.required > 0);
        self.copy(&origin, &Destination { export: mounted, key, dir }, progress)?;
        // The copy of the top directory has its owner and mode. Only what the StorageClass says is changed.
        let owner = new.owner();
        if owner.uid.is_some() || owner.gid.is_some() {
            dir.set_owner(owner.uid, owner.gid)?;
        }
        if let Some(mode) = owner.mode {
            dir.set_mode(mode)?;
        }
        let (parent, name) = record.sub_dir.split();
        let made_parent = parent.map(|parent| state.make_parents(parent)).transpose()?;
        let parent = made_parent.as_ref().unwrap_or(mounted.share());
        if let Some(owner) = state.around(&record.sub_dir, key)? {
            let share = mounted.share().label();
            let (volume, sub_dir) = (&record.name, &record.sub_dir);
            return Err(Error::AlreadyExists(format!(
                "{share}/{sub_dir} cannot belong to volume {volume:?}: {owner}; choose another subDir"
            )));
        }
        let meanwhile = || Error::Busy(format!("{}/{name} was created meanwhile; ask again", parent.label()));
        // Without this check, rename(2) would replace an empty directory.
        if parent.fresh_entry(name)?.is_some() {
            return Err(meanwhile());
        }
        draft.place(parent, name).map_err(|error| if error.is_not_empty() { meanwhile() } else { error })?;
        if state.has_record(held)? {
            return Ok(());
        }
        let inode = dir.inode()?;
        state.with_path(held, || state.discard_directory(held, parent, inode))?;
        Err(Error::Busy(format!("volume {:?} was deleted while it was filled; ask again", record.name)))
    }
}

/// Removes the record of a volume that could not be filled, unless another process has filled the volume.
fn withdraw(mounted: &MountedExport, state: &StateDir, held: &HeldRecord) -> Result<()> {
    let is_there = || Ok::<_, Error>(find_now(mounted.share(), &held.record.sub_dir)?.is_some());
    if is_there()? {
        return Ok(());
    }
    let change = mounted.reservations().change();
    match state.release_if(held, || Ok(!is_there()?)) {
        // It was filled after the check, or it is being deleted.
        Err(Error::Busy(_)) => return Ok(()),
        released => released?,
    }
    change.give_back(held.record.capacity_bytes);
    Ok(())
}
