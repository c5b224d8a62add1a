//! Changing a volume that exists: its promised capacity, its policy, its owner and mode.

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
    /// Promises a volume more capacity and answers what it has then. A volume that has it already keeps what it has.
    pub fn expand(&self, handle: &str, range: CapacityRange, secret: Option<&str>) -> Result<u64> {
        self.with_record(handle, secret, |mounted, located, record| {
            if record.capacity_bytes >= range.required {
                return if range.admits(record.capacity_bytes) {
                    Ok(record.capacity_bytes)
                } else {
                    Err(too_large(&record, range))
                };
            }
            let state = mounted.state()?;
            let more = range.required - record.capacity_bytes;
            let promise = capacity::promise(mounted, &state, located.export.policy.capacity, more)?;
            let changed = Record { capacity_bytes: range.required, ..record.clone() };
            save(&state, located, &record, &changed)?;
            promise.keep();
            Ok(range.required)
        })
    }

    /// Changes what may be changed of a volume. Owner and mode are set on its directory before they are recorded, so
    /// that a retry sets them again.
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
                    "{} existed before the volume, which took it over with onDelete: retain; so it is kept when the volume is \
                     deleted, and onDelete cannot be changed",
                    record.sub_dir
                )));
            }
            if changed.ownership != record.ownership {
                let parent = find_directory(mounted.share(), &record.sub_dir)?.ok_or_else(|| {
                    Error::NotFound(format!("the directory {} is not there", record.sub_dir))
                })?;
                let dir = parent.open_dir(record.sub_dir.split().1).map_err(refuse_unsafe)?;
                dir.set_owner(change.uid, change.gid).map_err(refuse_unsafe)?;
                dir.set_mode(changed.ownership.mode).map_err(refuse_unsafe)?;
            }
            save(&*mounted.state()?, located, &record, &changed)
        })
    }
}

/// Writes a record that changed. A volume of csi-driver-nfs gets its first one here.
fn save(state: &StateDir, located: &ResolvedVolume, before: &Record, after: &Record) -> Result<()> {
    let busy =
        || Error::Busy(format!("volume {:?} was changed or deleted meanwhile; ask again", before.name));
    if let Some(held) = state.hold(&located.handle.key)? {
        return if held.record == *before { state.change(&held, after) } else { Err(busy()) };
    }
    if located.handle.foreign.is_none() {
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
        "the volume has {} bytes already, and at most {} are asked for: a volume cannot shrink",
        record.capacity_bytes, range.limit
    ))
}
