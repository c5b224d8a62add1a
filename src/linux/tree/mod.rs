//! Whole directory trees: copying, removing and unpacking them.

pub mod copy;
mod queue;
pub mod remove;
pub mod unpack;
