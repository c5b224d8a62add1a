//! Snapshots on a share: their records, and the directories that hold them.

pub mod record;
pub mod store;
