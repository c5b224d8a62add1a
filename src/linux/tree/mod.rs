//! Whole directory trees: copying, removing and unpacking them.

pub mod copy;
pub mod group;
mod keyed_lock;
mod queue;
pub mod remove;
pub mod unpack;
pub mod usage;
pub(in crate::linux) mod visit;
