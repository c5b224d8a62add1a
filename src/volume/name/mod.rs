//! Pure texts and what they mean: exports, directories, handles.

pub mod csi_driver_nfs;
pub mod export;
pub mod handle;
pub mod pvc;
pub mod reach;
pub mod snapshot_handle;
pub mod source;
pub mod sub_dir;
pub mod template;
