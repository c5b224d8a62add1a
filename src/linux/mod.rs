//! The only code that speaks to the kernel: directory handles, mounts, the mount table, NFS.
//!
//! Plain synchronous Rust. It knows nothing of CSI or of volumes, and imports nothing from the rest of the
//! crate. A function that may block for as long as an NFS server is silent says so.

pub mod attributes;
pub mod copy;
pub mod dir;
pub mod fake;
pub mod mount;
pub mod mountinfo;
pub mod namespace;
pub mod nfs;
pub mod nfs_options;
mod queue;
pub mod remove;
pub mod revalidate;
pub mod rpc_ping;
pub mod unpack;

use std::io;
use std::path::Path;

pub use attributes::Attributes;
pub use dir::Dir;
pub use mountinfo::MountTable;
pub use nfs::{MountError, NfsSource};
pub use nfs_options::{BindFlags, NfsOptions};

/// A system call that failed: what was tried, on what, and the kernel's reason.
#[derive(Debug, thiserror::Error)]
#[error("{op} {path}: {source}")]
pub struct SysError {
    /// The operation in a word or two, such as `open` or `bind-mount`.
    pub op: &'static str,
    /// What it was done to, for a person to read. Below an export it begins with the export's name.
    pub path: String,
    /// The reason the kernel gave.
    pub source: io::Error,
}

impl SysError {
    /// Wraps `source`, which may be an [`io::Error`] or an errno of `nix`.
    pub fn new(op: &'static str, path: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { op, path: path.into(), source: source.into() }
    }

    /// The errno, if the error came from a system call.
    #[must_use]
    pub fn errno(&self) -> Option<nix::errno::Errno> {
        self.source.raw_os_error().map(nix::errno::Errno::from_raw)
    }

    /// Whether the thing asked for does not exist (`ENOENT`).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(nix::errno::Errno::ENOENT)
    }

    /// Whether the name is taken already (`EEXIST`).
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.errno() == Some(nix::errno::Errno::EEXIST)
    }

    /// Whether a directory still has entries (`ENOTEMPTY`, or `EEXIST` where rmdir(2) says that).
    #[must_use]
    pub fn is_not_empty(&self) -> bool {
        matches!(self.errno(), Some(nix::errno::Errno::ENOTEMPTY | nix::errno::Errno::EEXIST))
    }

    /// Whether permission was denied (`EACCES`, `EPERM`).
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(nix::errno::Errno::EACCES | nix::errno::Errno::EPERM))
    }

    /// Whether the server no longer knows the handle (`ESTALE`).
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.errno() == Some(nix::errno::Errno::ESTALE)
    }

    /// Whether a path component was a symbolic link, or no directory, or led out of the tree: what
    /// `openat2` says to a path that somebody has tampered with.
    #[must_use]
    pub fn is_unsafe_path(&self) -> bool {
        use nix::errno::Errno::{ELOOP, ENOTDIR, EXDEV};
        matches!(self.errno(), Some(ELOOP | ENOTDIR | EXDEV))
    }
}

/// `Result` of this layer.
pub type Result<T, E = SysError> = std::result::Result<T, E>;

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

/// A number no other call has got: the clock in nanoseconds, made larger than the last one given out.
#[must_use]
pub fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{SystemTime, UNIX_EPOCH};
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let next = |last: u64| Some(now.max(last + 1));
    LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_or(now, |last| now.max(last + 1))
}

/// Lets every mode given to a system call count as it is. For the whole process.
pub fn clear_umask() {
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
}

/// Lets the process have as many files open as the administrator allows it at most: a tree is copied with two open
/// directories for each level. For the whole process.
pub fn raise_open_files() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}
