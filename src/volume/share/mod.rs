//! What lies on a share: mounts, the state directory, records, directories, the trash.

pub mod capacity;
pub mod csi_driver_nfs_archive;
pub mod directory;
pub mod mounts;
pub mod record;
pub mod snapshot_record;
pub mod snapshot_store;
pub mod state_dir;
pub mod trash;
