//! NFS exports: their mount options, the check that a server answers, and mount(2).

mod access;
mod error;
mod mount;
pub mod options;
mod rpc;
mod server;
mod source;

pub use access::Asker;
pub use error::MountError;
pub use mount::{Undo, mount_first};
pub use server::{addresses, connect, has_status_monitor, nfs_3_programs_at, versions_at};
pub use source::NfsSource;
