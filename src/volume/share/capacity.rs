//! How large a volume is asked to be, and what was promised.

use crate::volume::error::{Error, Result};
use crate::volume::policy::settings::CapacityPolicy;
use crate::volume::share::mounted::MountedExport;
use crate::volume::share::state_dir::StateDir;

/// A request for capacity, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapacityRange {
    /// At least this; 0 if unsaid.
    pub required: u64,
    /// At most this; 0 if unsaid.
    pub limit: u64,
}

impl CapacityRange {
    /// Checks the two numbers as the CSI specification has them (`CapacityRange`).
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

    /// The capacity of a volume that is to hold `size` bytes which come from a volume of `before` bytes.
    pub fn to_hold(self, size: u64, before: u64) -> Result<u64> {
        let wanted = if self.required == 0 { before.max(size) } else { self.required };
        let capacity = if self.limit == 0 { wanted } else { wanted.min(self.limit) };
        if capacity < size {
            return Err(Error::OutOfRange(format!(
                "a volume of {capacity} bytes is asked for, and what it is to be filled with needs {size}"
            )));
        }
        Ok(capacity)
    }

    /// Whether a volume that was promised `capacity` bytes is what is asked for.
    #[must_use]
    pub fn admits(self, capacity: u64) -> bool {
        capacity >= self.required && (self.limit == 0 || capacity <= self.limit)
    }
}

/// Bytes that a new volume may have, or an old one grow by. `None`: any number.
pub fn available(mounted: &MountedExport, state: &StateDir, policy: CapacityPolicy) -> Result<Option<u64>> {
    match policy {
        CapacityPolicy::Ignore => Ok(None),
        CapacityPolicy::Thin => Ok(Some(mounted.share().usage()?.available_bytes)),
        CapacityPolicy::Reserve => {
            let usage = mounted.share().usage()?;
            let unpromised = usage.total_bytes.saturating_sub(mounted.promised(state)?);
            Ok(Some(unpromised.min(usage.available_bytes)))
        }
    }
}

/// Refuses a promise of `bytes` that the export cannot keep.
pub fn admit(mounted: &MountedExport, state: &StateDir, policy: CapacityPolicy, bytes: u64) -> Result<()> {
    match available(mounted, state, policy)? {
        Some(available) if bytes > available => {
            let share = mounted.share().label();
            let what =
                if policy == CapacityPolicy::Reserve { "not promised to other volumes" } else { "free" };
            Err(Error::OutOfRange(format!(
                "{bytes} bytes are asked for, and {share} has {available} bytes {what}"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_compared_with_both_ends() {
        let range = CapacityRange::new(10, 20).unwrap();
        assert_eq!([9, 10, 20, 21].map(|c| range.admits(c)), [false, true, true, false]);
        assert!(CapacityRange::new(0, 0).unwrap().admits(5));
        assert!(CapacityRange::new(-1, 0).is_err() && CapacityRange::new(5, 4).is_err());
    }
}
