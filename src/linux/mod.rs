//! The only code that speaks to the kernel: directory handles, NFS, mounts, and whole directory trees.
//!
//! Plain synchronous Rust. It knows nothing of CSI or of volumes, and imports nothing from the rest of the
//! crate. A function that may block for as long as an NFS server is silent says so.
//!
//! The parts build on each other in this order: `error`, [`step`], `bounded`, `process`, `raw`; then [`dir`]; then [`nfs`];
//! then [`mount`] and [`tree`]; then [`quota`], [`trial`] and [`watch`].

mod bounded;
pub mod dir;
mod error;
pub mod mount;
pub mod nfs;
mod process;
pub mod quota;
mod raw;
pub mod step;
pub mod tree;
pub mod trial;
pub mod watch;

pub use dir::metadata::{Attributes, Metadata, Time};
pub use dir::{Dir, revalidate};
pub use error::{Result, SysError};
pub use mount::{ExportRoot, MountTable, Mounter, PreparedBind, fake, mountinfo, mountstats, namespace};
pub use nfs::options::{self as nfs_options, BindFlags, NfsOptions};
pub use nfs::{
    Asker, MountError, NfsSource, addresses, connect, has_status_monitor, nfs_3_programs_at, versions_at,
};
pub use process::{clear_umask, host_name, raise_open_files, unique, unique_text};
pub use raw::FileKind;
pub use tree::{copy, group, remove, unpack, usage};
