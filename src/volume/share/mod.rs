//! What lies on a share: mounts, the state directory, records, directories, and what is deleted.

mod abandoned;
pub mod capacity;
pub mod csi_driver_nfs_archive;
mod deleted;
pub mod directory;
mod legacy;
pub mod mounts;
pub mod process_dir;
mod reaper;
pub mod record;
pub mod snapshot_record;
pub mod snapshot_store;
pub mod state_dir;
