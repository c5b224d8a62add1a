//! Copies of trees over NFS: snapshots, and volumes that are restored or cloned.

mod fidelity;
mod races;
pub(crate) mod snapshots;
pub(crate) mod stage;
pub(crate) mod tree;
mod turns;
