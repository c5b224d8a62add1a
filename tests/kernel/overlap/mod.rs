//! Several controllers and node services that use one share at the same time. Each is an NFS client of its own.

mod copies;
#[allow(dead_code, reason = "the tests with two controllers use the rest")]
pub(crate) mod members;
#[allow(dead_code, reason = "the tests with two controllers use the rest")]
pub(crate) mod network;
mod retention;
