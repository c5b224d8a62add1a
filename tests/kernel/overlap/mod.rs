//! Several controllers and node services that use one share at the same time. Each is an NFS client of its own.

mod caches;
mod changes;
mod copies;
mod lost_replies;
pub(crate) mod members;
mod model;
pub(crate) mod network;
mod nodes;
mod retention;
mod two_controllers;
