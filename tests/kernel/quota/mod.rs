//! Project quotas on the server: the system calls for them, the agent that sets them, and what the driver makes of them.

mod agent;
mod document;
mod driver;
mod forged;
mod inodes;
mod scale;
pub(crate) mod server;
mod system;
mod word;
