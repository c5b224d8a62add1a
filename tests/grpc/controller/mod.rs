//! The controller and group controller services: volumes, lists and snapshots.

mod changes;
pub(crate) mod claims;
mod lists;
mod overlaps;
pub(crate) mod snapshots;
mod volumes;
