//! Several controllers and node services that use one share at the same time. Each is an NFS client of its own.

mod copies;
pub(crate) mod members;
pub(crate) mod network;
mod nodes;
mod retention;
mod two_controllers;
