//! How large a volume shall be, and whether its export has room for it.

pub mod reservations;

use crate::linux::dir::Usage;

use crate::volume::error::{Error, Result};
use crate::volume::policy::settings::CapacityPolicy;
use crate::volume::share::capacity::reservations::Change;
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::state_dir::StateDir;

/// A request for capacity, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapacityRange {
    /// The smallest capacity; 0 if none is given.
    pub required: u64,
    /// The largest capacity; 0 if none is given.
    pub limit: u64,
}

impl CapacityRange {
    /// Checks the two numbers of a `CapacityRange` (CSI specification).
    pub fn new(required: i64, limit: i64) -> Result<Self> {
        let unsigned = |value: i64| {
            u64::try_from(value)
                .map_err(|_| Error::invalid("capacity_range", format!("{value} bytes is negative")))
        };
        let range = Self { required: unsigned(required)?, limit: unsigned(limit)? };
        if range.limit != 0 && range.limit < range.required {
            let reason = format!("limit of {limit} bytes is below the required {required} bytes");
            return Err(Error::invalid("capacity_range", reason));
        }
        Ok(range)
    }

    /// The capacity of a volume that is filled with `size` bytes from a volume with a capacity of `before` bytes. Fails if the range does
    /// not allow that much.
    pub fn to_hold(self, size: u64, before: u64) -> Result<u64> {
        let wanted = if self.required == 0 { before.max(size) } else { self.required };
        let capacity = if self.limit == 0 { wanted } else { wanted.min(self.limit) };
        if capacity < size {
            return Err(Error::OutOfRange(format!(
                "a volume of {capacity} bytes is asked for, but its source needs {size} bytes"
            )));
        }
        Ok(capacity)
    }

    /// Whether a volume with a capacity of `capacity` bytes is in the range.
    #[must_use]
    pub fn admits(self, capacity: u64) -> bool {
        capacity >= self.required && (self.limit == 0 || capacity <= self.limit)
    }
}

/// How many bytes a new volume may have, or an existing volume may grow by. `None` stands for any number.
pub fn available(mounted: &MountedExport, state: &StateDir, policy: CapacityPolicy) -> Result<Option<u64>> {
    match policy {
        CapacityPolicy::Ignore => Ok(None),
        CapacityPolicy::Thin => Ok(Some(mounted.share().usage()?.available_bytes)),
        CapacityPolicy::Reserve => {
            let usage = mounted.share().usage()?;
            let reserved = mounted.reservations().counted(|| state.sum_of_capacities())?.sum();
            Ok(Some(unreserved(usage, reserved)))
        }
    }
}

/// Reserves `bytes` more, or fails if the export has no room for them. They are free again if the result is dropped without
/// [`Change::keep`]. NFS requests: none if capacity is ignored, else one FSSTAT; with `reserve` also those of reading all
/// records, about once a minute.
pub fn reserve<'a>(
    mounted: &'a MountedExport,
    state: &StateDir,
    policy: CapacityPolicy,
    bytes: u64,
) -> Result<Change<'a>> {
    let usage = match policy {
        CapacityPolicy::Ignore => None,
        CapacityPolicy::Thin | CapacityPolicy::Reserve => Some(mounted.share().usage()?),
    };
    let mut change = match policy {
        CapacityPolicy::Ignore | CapacityPolicy::Thin => mounted.reservations().change(),
        CapacityPolicy::Reserve => mounted.reservations().counted(|| state.sum_of_capacities())?,
    };
    change.add(bytes, |reserved| {
        let (available, what) = match (usage, policy) {
            (Some(usage), CapacityPolicy::Reserve) => {
                (unreserved(usage, reserved), "that no other volume has reserved")
            }
            (Some(usage), _) => (usage.available_bytes, "free"),
            (None, _) => return Ok(()),
        };
        if bytes <= available {
            return Ok(());
        }
        let share = mounted.share().label();
        Err(Error::OutOfRange(format!(
            "{bytes} bytes are asked for, but {share} has only {available} bytes {what}"
        )))
    })?;
    Ok(change)
}

/// Bytes that are neither used nor reserved.
fn unreserved(usage: Usage, reserved: u64) -> u64 {
    usage.total_bytes.saturating_sub(reserved).min(usage.available_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_compared_with_both_ends() {
        let range = CapacityRange::new(10, 20).unwrap();
        assert_eq!([9, 10, 20, 21].map(|c| range.admits(c)), [false, true, true, false]);
        assert!(CapacityRange::new(0, 0).unwrap().admits(5));
        assert!(CapacityRange::new(-1, 0).is_err() && CapacityRange::new(5, 4).is_err());
    }
}
