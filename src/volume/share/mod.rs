//! What lies on a share: mounts, the state directory, records, directories, and what is deleted.

mod abandoned;
mod afterwards;
pub mod capacity;
pub mod claims;
pub mod csi_driver_nfs_archive;
mod deleted;
pub mod directory;
pub mod health;
mod left;
mod legacy;
pub mod mounts;
pub mod nodes;
pub mod process_dir;
pub mod quota;
mod reaper;
pub mod record;
pub mod records;
pub mod snapshots;
pub mod state_dir;
pub mod survey;
pub mod trash;
pub mod whole_share;
