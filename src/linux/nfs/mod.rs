//! NFS exports: their mount options, the check that a server answers, and mount(2).

mod error;
mod mount;
pub mod options;
mod rpc_ping;
mod source;

pub use error::MountError;
pub use mount::{mount, mount_first};
pub use source::NfsSource;
