//! NFS exports: the options that a mount takes, the server's answer to a ping, and mount(2).

mod mount;
pub mod options;
mod rpc_ping;

pub use mount::{MountError, NfsSource, mount, mount_first};
