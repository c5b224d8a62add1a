//! Copying trees into volumes and snapshots.

pub mod source;
pub mod tree;
