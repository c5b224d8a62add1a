//! The error of a failed system call.

use std::io;

use nix::errno::Errno;

/// A system call that failed: the operation, the object and the kernel's reason.
#[derive(Debug, thiserror::Error)]
#[error("{op} {path}: {source}")]
pub struct SysError {
    /// The operation in one to three words, such as `open` or `bind-mount`.
    pub op: &'static str,
    /// The path of the object, for a person to read. Below an export the path begins with the export's name.
    pub path: String,
    /// The kernel's reason.
    pub source: io::Error,
}

impl SysError {
    /// Wraps `source`: an [`io::Error`], or an [`Errno`] of `nix`.
    pub fn new(op: &'static str, path: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { op, path: path.into(), source: source.into() }
    }

    /// The errno, if a system call returned one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        self.source.raw_os_error().map(Errno::from_raw)
    }

    /// Whether the object does not exist (`ENOENT`).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(Errno::ENOENT)
    }

    /// Whether the name is already in use (`EEXIST`).
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// Whether a directory still has entries. rmdir(2) allows both `ENOTEMPTY` and `EEXIST` for this.
    #[must_use]
    pub fn is_not_empty(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENOTEMPTY | Errno::EEXIST))
    }

    /// Whether permission was denied (`EACCES`, `EPERM`).
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(Errno::EACCES | Errno::EPERM))
    }

    /// Whether the file system is read-only (`EROFS`).
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.errno() == Some(Errno::EROFS)
    }

    /// Whether something uses the object (`EBUSY`).
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.errno() == Some(Errno::EBUSY)
    }

    /// Whether the server no longer knows the file handle (`ESTALE`).
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.errno() == Some(Errno::ESTALE)
    }

    /// Whether a component of the path is a symbolic link or not a directory, or whether the path leads out of
    /// the tree (`ELOOP`, `ENOTDIR`, `EXDEV` of openat2(2)). A tenant may have changed the path on purpose.
    #[must_use]
    pub fn is_unsafe_path(&self) -> bool {
        matches!(self.errno(), Some(Errno::ELOOP | Errno::ENOTDIR | Errno::EXDEV))
    }
}

/// `Result` with a [`SysError`].
pub type Result<T, E = SysError> = std::result::Result<T, E>;
