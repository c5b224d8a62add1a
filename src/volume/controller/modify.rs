//! Changing an existing volume: its capacity, its `onDelete`, its owner and mode.

use crate::volume::error::refuse_unsafe;
use crate::volume::error::{Error, Result};
use crate::volume::policy::parameters::Change;
use crate::volume::share::capacity;
use crate::volume::share::capacity::CapacityRange;
use crate::volume::share::claims::Added;
use crate::volume::share::directory::find_directory;
use crate::volume::share::record::Record;
use crate::volume::share::state_dir::StateDir;
use crate::volume::volumes::{ResolvedVolume, Volumes, alias};

impl Volumes {
    /// Gives a volume more capacity, and returns the new capacity in bytes. If the volume has enough already, nothing changes. Where limits are
    /// expected, waits until the new one is in force.
    pub fn expand(&self, handle: &str, range: CapacityRange, secret: Option<&str>) -> Result<u64> {
        let located = self.existing(handle, secret)?;
        let record = self.with_record_of(&located, |mounted, located, record| {
            if record.capacity_bytes >= range.required {
                return if range.admits(record.capacity_bytes) {
                    Ok(record)
                } else {
                    Err(too_large(&record, range))
                };
            }
            let state = mounted.state()?;
            let more = range.required - record.capacity_bytes;
            let reservation = capacity::reserve(mounted, &state, located.export.policy.capacity, more)?;
            let changed = Record { capacity_bytes: range.required, ..record.clone() };
            save(&state, located, &record, &changed)?;
            reservation.keep();
            Ok(changed)
        })?;
        self.await_limit(&located.export, &located.options, (&located.handle.key, &record))?;
        Ok(record.capacity_bytes)
    }

    /// Changes `onDelete`, owner and mode of a volume. Owner and mode are set on the directory before they are written to the record, so that
    /// a retry sets them again.
    pub fn modify(&self, handle: &str, change: Change, secret: Option<&str>) -> Result<()> {
        self.with_record(handle, secret, |mounted, located, record| {
            let changed = Record {
                on_delete: change.on_delete.unwrap_or(record.on_delete),
                ownership: change.ownership_after(record.ownership),
                ..record.clone()
            };
            if changed == record {
                return Ok(());
            }
            if record.found && changed.on_delete != record.on_delete {
                return Err(Error::Precondition(format!(
                    "the directory {} existed before the volume, which took it over with onDelete: retain; so it stays when the \
                     volume is deleted, and onDelete cannot be changed",
                    record.sub_dir
                )));
            }
            if changed.ownership != record.ownership {
                let parent = find_directory(mounted.share(), &record.sub_dir)?.ok_or_else(|| {
                    Error::NotFound(format!("the directory {} does not exist on the server", record.sub_dir))
                })?;
                let dir = parent.open_dir(record.sub_dir.split().1).map_err(refuse_unsafe)?;
                dir.set_owner(change.uid, change.gid).map_err(refuse_unsafe)?;
                dir.set_mode(changed.ownership.mode).map_err(refuse_unsafe)?;
            }
            save(&*mounted.state()?, located, &record, &changed)
        })
    }
}

/// Writes a record that has changed. A volume of csi-driver-nfs that has no record gets one.
fn save(state: &StateDir, located: &ResolvedVolume, before: &Record, after: &Record) -> Result<()> {
    let busy =
        || Error::Busy(format!("volume {:?} was changed or deleted meanwhile; ask again", before.name));
    if let Some(held) = state.hold(&located.handle.key)? {
        return if held.record == *before { state.change(&held, after) } else { Err(busy()) };
    }
    if located.handle.csi_driver_nfs.is_none() {
        return Err(busy());
    }
    match state.add(&located.handle.key, after)? {
        Added::Made(held) => state.keep(&held),
        Added::Exists => Err(busy()),
        Added::Overlaps(owner) => Err(alias(&located.handle, &owner)),
    }
}

fn too_large(record: &Record, range: CapacityRange) -> Error {
    Error::OutOfRange(format!(
        "the volume has {} bytes, but the request allows at most {}: a volume cannot be made smaller",
        record.capacity_bytes, range.limit
    ))
}
