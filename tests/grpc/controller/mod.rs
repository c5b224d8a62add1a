//! The controller and group controller services: volumes, lists and snapshots.

mod changes;
mod lists;
mod overlaps;
pub(crate) mod snapshots;
mod volumes;
