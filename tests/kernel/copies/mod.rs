//! Copies of trees over NFS: snapshots, restored and cloned volumes.

mod fidelity;
mod races;
pub(crate) mod snapshots;
pub(crate) mod stage;
pub(crate) mod tree;
