//! Deleting volumes.

use std::sync::Arc;

use crate::linux::Dir;

use crate::volume::error::{Result, refuse_unsafe};
use crate::volume::name::source::job_name;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::on_delete::OnDelete;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::claims::{HeldRecord, Place, busy};
use crate::volume::share::directory::{Found, find_now, other_file_system};
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::state_dir::StateDir;
use crate::volume::volumes::{ResolvedVolume, Volumes, alias};

impl Volumes {
    /// Deletes the volume with this handle. The policy is in its record, or in the handle if csi-driver-nfs wrote the handle. If there is no
    /// such volume, this succeeds. `secret` are mount options from the secrets of the call.
    ///
    /// First the directory is moved away, and then the claim and the record are moved aside. So if a process is killed in between, the retry
    /// continues from there. The cost does not depend on the content of the volume.
    ///
    /// NFS requests in the call, for a directory at the top of the share (`make bench`, NFS 4.2): OPEN and READ for the record, GETATTR of the
    /// share to find the directory, GETATTR of the folder of claims to see that the path is claimed for this record, and RENAME of the directory,
    /// of the claim and of the record. LOOKUP for the directory and for the claim, if this client does not remember them. Afterwards: those of
    /// [`StateDir::complete`]. A directory that is kept for some time or archived, and one below others, is completed in the call.
    pub fn delete(&self, handle: &str, secret: Option<&str>) -> Result<()> {
        // For a text that is not a handle, no server is asked.
        let Some(located) = self.locate(handle, secret)? else { return Ok(()) };
        let own = job_name(&located.handle);
        self.copies.refuse_while_source(&own)?;
        self.copies.cancel(&own)?;
        self.exports.with_any(&located.export, &located.options, |mounted| {
            let Some(state) = state_for(mounted, &located)? else { return Ok(()) };
            let policy = self.settings.get().strictest_policy();
            mounted.reap_once(&state, policy);
            let deleted = match state.hold_known(&located.handle.key)? {
                Some(held) => delete_recorded(mounted, &state, &located, held, policy)?,
                // If the volume gets a record after this, it is newer than this call.
                None if located.handle.csi_driver_nfs.is_none() => false,
                None => delete_without_record(mounted, &state, &located)?,
            };
            if deleted {
                mounted.reap(&state, Some(policy));
            }
            Ok(())
        })
    }
}

/// The state directory of the export. A volume of csi-driver-nfs can be on an export that has none; then it is created.
fn state_for(mounted: &MountedExport, located: &ResolvedVolume) -> Result<Option<Arc<StateDir>>> {
    let state = match mounted.existing_state()? {
        Some(state) => state,
        None if located.record(mounted)?.is_none() => return Ok(None),
        None => mounted.state()?,
    };
    if let Err(error) = state.complete_claims() {
        // The record that cannot be read belongs to another volume.
        tracing::warn!(%error, "not all volumes of this export are known");
    }
    Ok(Some(state))
}

/// Deletes a volume that has a record. Returns whether the caller has to start a sweep. `legacy` is the policy for one that starts later.
fn delete_recorded(
    mounted: &MountedExport,
    state: &Arc<StateDir>,
    located: &ResolvedVolume,
    mut held: HeldRecord,
    legacy: ExportPolicy,
) -> Result<bool> {
    let share = mounted.share();
    // The directory is looked up before the claim. So if the claim is there, the directory belongs to this volume.
    let mut found = find_now(share, &held.record.sub_dir)?;
    if !state.has_claim(&held)? || !held.had_all_names() {
        // Rarely: the client remembers an earlier record, or a process was killed while it deleted the volume.
        let Some(now) = state.hold(&located.handle.key)? else { return Ok(false) };
        held = now;
        let owner = match state.claim(&held) {
            // Another controller has just deleted the volume.
            Err(error) if error.is_gone() => return Ok(false),
            claimed => claimed?,
        };
        if let Some(owner) = owner {
            // Another volume has claimed the path meanwhile.
            tracing::warn!(
                volume = held.record.name,
                owner,
                "only the record is deleted: another volume has the directory"
            );
            state.release_record(&held)?;
            return Ok(false);
        }
        found = find_now(share, &held.record.sub_dir)?;
        if !state.has_claim(&held)? {
            return Err(busy(&held));
        }
    }
    let (on_delete, capacity) = (held.record.on_delete, held.record.capacity_bytes);
    let change = mounted.reservations().change();
    if on_delete == OnDelete::Retain {
        state.release(&held)?;
        change.give_back(capacity);
        return Ok(false);
    }
    let policy = located.export.policy;
    // What is kept can be looked for after the answer, so it is in its place then.
    let is_kept = on_delete == OnDelete::Archive || !policy.trash_retention.is_zero();
    let is_at_top = held.record.sub_dir.split().0.is_none();
    let moved = match found {
        None => None,
        Some(found) => {
            require_movable(share, &found, &held.record.sub_dir)?;
            let place = match on_delete {
                OnDelete::Archive => {
                    let (parent, name) = archive_of(share, state, &held.record.sub_dir)?;
                    Place::Archive(parent, name)
                }
                _ => state.place_in_deleted(&held, &found, policy)?,
            };
            Some((found, place))
        }
    };
    let removal = state.take_away(held, moved)?;
    if is_at_top && !is_kept {
        let state = Arc::clone(state);
        mounted.afterwards(move || state.complete(&removal).map(|()| Some(legacy)));
        change.give_back(capacity);
        return Ok(false);
    }
    state.complete(&removal)?;
    change.give_back(capacity);
    Ok(on_delete == OnDelete::Delete)
}

/// Deletes a volume of csi-driver-nfs that has no record. Returns whether something is left to be removed in the background.
fn delete_without_record(
    mounted: &MountedExport,
    state: &StateDir,
    located: &ResolvedVolume,
) -> Result<bool> {
    let Some(record) = located.record(mounted)? else { return Ok(false) };
    if let Some(owner) = state.owner_of(&record.sub_dir)? {
        return Err(alias(&located.handle, &owner));
    }
    let share = mounted.share();
    let Some(found) = find_now(share, &record.sub_dir)? else { return Ok(false) };
    let name = record.sub_dir.split().1;
    match record.on_delete {
        OnDelete::Retain => return Ok(false),
        OnDelete::Delete => {
            require_movable(share, &found, &record.sub_dir)?;
            state.discard(&found.parent, name, &located.handle.key, located.export.policy)?;
        }
        OnDelete::Archive => {
            require_movable(share, &found, &record.sub_dir)?;
            let (parent, archived) = archive_of(share, state, &record.sub_dir)?;
            found.parent.rename(name, &parent, archived)?;
        }
    }
    state.remove_empty_parents(&record.sub_dir);
    Ok(record.on_delete == OnDelete::Delete)
}

/// Refuses to move a directory on another file system than the share's: version 0.1.0 made volumes there, and handles of
/// csi-driver-nfs can name them. Sends no request.
fn require_movable(share: &Dir, found: &Found, sub_dir: &SubDir) -> Result<()> {
    if found.dir.is_on_file_system_of(share)? {
        Ok(())
    } else {
        Err(other_file_system(share, sub_dir.as_str()))
    }
}

/// The place for the archive of a directory: `archived-…`, with a suffix if that name is in use.
fn archive_of(share: &Dir, state: &StateDir, sub_dir: &SubDir) -> Result<(Dir, String)> {
    let mut archived = sub_dir.archived();
    let parent = match archived.split().0 {
        Some(path) => state.make_parents(path)?,
        None => share.open_place(".").map_err(refuse_unsafe)?,
    };
    if parent.fresh_entry(archived.split().1)?.is_some() {
        archived = archived.with_suffix(&format!("-{:x}", crate::linux::unique()));
    }
    let name = archived.split().1.to_owned();
    Ok((parent, name))
}
