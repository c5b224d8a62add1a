//! Mounts: those of exports, the binds at target paths, and the kernel's table of both.

pub mod fake;
pub mod mountinfo;
pub mod namespace;
mod system;

use std::path::Path;

use crate::linux::dir::Dir;
use crate::linux::error::Result;
use crate::linux::nfs::options::{BindFlags, NfsOptions};
use crate::linux::nfs::{MountError, NfsSource};

pub use mountinfo::MountTable;
pub use system::SysMounter;

/// The door to the kernel's mounts, and the one thing that tests without root replace.
pub trait Mounter: Send + Sync {
    /// Mounts an export where only this process sees it, and opens its top directory. Of several sources the first
    /// that can be mounted is. Blocks for as long as name resolution, the server's answer to a probe and mount(2)
    /// take.
    fn mount_export(&self, sources: &[NfsSource], options: &NfsOptions) -> Result<ExportRoot, MountError>;

    /// Lets go of what [`Mounter::mount_export`] mounted. Handles that are still open keep working.
    fn release_export(&self, root: &ExportRoot) -> Result<()>;

    /// Makes `dir` appear at `target`, an existing directory, with `flags` in force from the first moment.
    fn bind(&self, dir: &Dir, target: &Path, flags: BindFlags) -> Result<()>;

    /// Takes the topmost mount off `target`. Never follows a link and never asks a server anything.
    fn unmount(&self, target: &Path) -> Result<()>;

    /// What is mounted now, as this process sees it. Never touches a mounted file system.
    fn table(&self) -> Result<MountTable>;
}

/// An export as [`Mounter::mount_export`] hands it out.
#[derive(Debug)]
pub struct ExportRoot {
    /// Handle of the share's top directory.
    pub dir: Dir,
    /// Where it is mounted, in the driver's own mount namespace.
    pub mount_point: std::path::PathBuf,
    /// The NFS version agreed with the server, such as `4.2`.
    pub version: String,
}
