//! Whole directory trees: copying, removing and unpacking them.

pub mod copy;
mod keyed_lock;
mod queue;
pub mod remove;
pub mod unpack;
