//! What a volume is and what may happen to it: names, parameters, records, and the life from creation over
//! publishing to deletion.
//!
//! Plain synchronous Rust: no gRPC, no async. The kernel is reached through [`crate::linux`] only.

pub mod controller;
pub mod copy;
pub mod error;
pub mod jobs;
pub mod name;
pub mod node;
pub mod on_delete;
pub mod operate;
pub mod policy;
pub mod share;
pub mod volumes;
