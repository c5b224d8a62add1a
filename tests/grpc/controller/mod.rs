//! The controller and group controller services: volumes, lists and snapshots.

mod changes;
mod lists;
pub(crate) mod snapshots;
mod volumes;
