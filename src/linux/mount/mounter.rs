//! The operations on mounts that the rest of the driver uses.

use std::path::{Path, PathBuf};

use super::mountinfo::MountTable;
use crate::linux::dir::Dir;
use crate::linux::error::Result;
use crate::linux::nfs::options::{BindFlags, NfsOptions};
use crate::linux::nfs::{MountError, NfsSource};

/// All that the driver does with mounts. Tests without root use [`FakeMounter`](super::fake::FakeMounter) instead of [`SysMounter`](super::SysMounter).
pub trait Mounter: Send + Sync {
    /// Mounts an export where only this process sees it, and opens its top directory. `sources` are the addresses of
    /// one export; the first one that can be mounted is used. Blocks while the name is resolved, the server is
    /// probed and mount(2) runs.
    fn mount_export(&self, sources: &[NfsSource], options: &NfsOptions) -> Result<ExportRoot, MountError>;

    /// Unmounts what [`Mounter::mount_export`] mounted. Open handles keep working.
    fn release_export(&self, root: &ExportRoot) -> Result<()>;

    /// Bind-mounts `dir` where nobody sees it, with `flags`. It must be placed or discarded.
    fn prepare(&self, dir: &Dir, flags: BindFlags) -> Result<PreparedBind>;

    /// Moves a prepared bind mount to `target`, an existing directory. If that fails, the bind mount is gone. Sends no
    /// request to a server.
    fn place(&self, bind: PreparedBind, target: &Path) -> Result<()>;

    /// Unmounts a prepared bind mount. Sends no request to a server.
    fn discard(&self, bind: PreparedBind) -> Result<()>;

    /// Bind-mounts `dir` at `target`, an existing directory. The `flags` are in force from the first moment.
    fn bind(&self, dir: &Dir, target: &Path, flags: BindFlags) -> Result<()> {
        self.place(self.prepare(dir, flags)?, target)
    }

    /// Unmounts the topmost mount at `target`. Does not follow a symbolic link and sends no request to a server.
    fn unmount(&self, target: &Path) -> Result<()>;

    /// Unmounts the topmost mount at `target` if nothing uses it. Otherwise the error is `EBUSY`. Sends no request to a server.
    fn unmount_unused(&self, target: &Path) -> Result<()>;

    /// The mounts that this process sees now. Does not touch a mounted file system.
    fn table(&self) -> Result<MountTable>;
}

/// An export that [`Mounter::mount_export`] has mounted.
#[derive(Debug)]
pub struct ExportRoot {
    /// Handle of the share's top directory.
    pub dir: Dir,
    /// The mount point in the driver's own mount namespace.
    pub mount_point: PathBuf,
    /// The NFS version in use, such as `4.2`.
    pub version: String,
}

/// A bind mount that [`Mounter::prepare`] has made.
#[derive(Debug)]
pub struct PreparedBind {
    /// Where it is, in the driver's own mount namespace.
    pub(super) private: PathBuf,
    /// The directory, for messages.
    pub(super) label: String,
    /// Its flags.
    pub(super) flags: BindFlags,
}
