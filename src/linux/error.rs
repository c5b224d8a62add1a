//! The error of a failed system call.

use std::io;

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
