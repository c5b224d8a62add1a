//! Why something could not be done with a volume. There is one variant for each condition that the caller can tell from
//! others. `csi::status` has the gRPC code of each.

use std::sync::Arc;

use crate::cluster::ClusterError;
use crate::linux::namespace::NamespaceError;
use crate::linux::nfs_options::OptionError;
use crate::linux::{MountError, SysError};

/// `Result` of this layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of this layer. A message is for the person who reads the events of a pod. It says what failed, where, and what to
/// do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field that the call needs is empty.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is not valid.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, parameter or key.
        field: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A parameter with this key does not exist.
    #[error("unknown parameter `{key}`{}", nearest.as_ref().map_or(String::new(), |n| format!(": did you mean `{n}`?")))]
    UnknownParameter {
        /// The key as it was written.
        key: String,
        /// The known key that is most like it.
        nearest: Option<String>,
    },
    /// A mount option cannot be used.
    #[error(transparent)]
    MountOption(#[from] OptionError),
    /// There is no such volume.
    #[error("{0}")]
    NotFound(String),
    /// The name is in use for something else.
    #[error("{0}")]
    AlreadyExists(String),
    /// What the call needs is not given, and a retry will not help until somebody changes something.
    #[error("{0}")]
    Precondition(String),
    /// The token of a list is not one that this driver gives.
    #[error("the starting token is not valid; begin the list without a token")]
    BadToken,
    /// The server does not let the driver act as root.
    #[error("{0}")]
    Denied(String),
    /// The server denies everything on an export that was mounted before.
    #[error("{0}")]
    NotExported(String),
    /// More is asked for than there is, or than can be.
    #[error("{0}")]
    OutOfRange(String),
    /// The work is not done yet. A retry of the call finds out how it ends.
    #[error("{0}")]
    Busy(String),
    /// The work was cancelled, because what it makes was deleted meanwhile.
    #[error("cancelled: what was being made has been deleted")]
    Cancelled,
    /// The export could not be mounted.
    #[error(transparent)]
    Mount(Arc<MountError>),
    /// A file in the state directory is not a record that this version can read.
    #[error("{path}: this version of the driver cannot read the record: {reason}; the file was not changed")]
    BadRecord {
        /// The file, beginning with the export.
        path: String,
        /// What the parser said.
        reason: String,
    },
    /// A system call failed.
    #[error(transparent)]
    Sys(SysError),
    /// The driver has no mount namespace of its own.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The labels and annotations of the claim could not be read.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Several steps failed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; and "))]
    Several(Vec<Error>),
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// An [`Error::NotExported`]. `denied` is what the server has denied although it does not depend on who asks.
    pub(in crate::volume) fn not_exported(denied: &SysError) -> Self {
        Self::NotExported(format!(
            "{denied}: the server denies everything here: does it still export this share, and is this node's address in its export list? \
             (`exportfs -v` on the server)"
        ))
    }

    /// This error and, if the cleanup after it failed too, the error of the cleanup. Both are reported as one.
    pub(in crate::volume) fn with_cleanup<T>(self, cleaned: Result<T>) -> Self {
        match (self, cleaned) {
            (reason, Ok(_)) => reason,
            (Self::Several(mut errors), Err(error)) => {
                errors.push(error);
                Self::Several(errors)
            }
            (reason, Err(error)) => Self::Several(vec![reason, error]),
        }
    }

    /// Whether the server no longer knows a file handle that the driver uses (`ESTALE`), for example because it was restarted
    /// with another file system in that place.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Sys(error) => error.is_stale(),
            Self::Several(errors) => errors.iter().any(Self::is_stale),
            _ => false,
        }
    }

    /// Whether the server does not let the driver act as root.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Denied(_) => true,
            Self::Several(errors) => errors.iter().any(Self::is_denied),
            _ => false,
        }
    }

    /// Whether a directory could not be removed or replaced because it has entries.
    #[must_use]
    pub fn is_not_empty(&self) -> bool {
        matches!(self, Self::Sys(error) if error.is_not_empty())
    }

    /// Whether something does not exist any more (`ENOENT`, `ESTALE`), because another process was faster.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Sys(error) if error.is_not_found() || error.is_stale())
    }

    /// Whether the server could not be reached at all, or did not answer in time.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Mount(error) => error.is_unreachable(),
            Self::Sys(error) => error.source.kind() == std::io::ErrorKind::TimedOut,
            Self::Several(errors) => errors.iter().any(Self::is_unreachable),
            _ => false,
        }
    }
}

impl From<MountError> for Error {
    fn from(error: MountError) -> Self {
        Self::Mount(Arc::new(error))
    }
}

/// The error for a path on the share with a component that is not a directory.
#[must_use]
pub fn unsafe_path(path: &str) -> Error {
    Error::Precondition(format!(
        "{path}: a part of this path is a symbolic link or is not a directory, so the driver does not use the path; nothing \
         was changed"
    ))
}

/// Translates a failed system call. A path with a symbolic link in it gets the message of [`unsafe_path`].
#[must_use]
pub fn refuse_unsafe(error: SysError) -> Error {
    if error.is_unsafe_path() { unsafe_path(&error.path) } else { error.into() }
}

/// Every failed system call becomes an error here, so that what a server denies to root is explained wherever it occurs. Nearly always the
/// reason is the squash option of the export. The path of a file on this host begins with a slash, and the path of a file on a share
/// begins with the server.
impl From<SysError> for Error {
    fn from(error: SysError) -> Self {
        if error.path.starts_with('/') {
            return Self::Sys(error);
        }
        if error.is_hard_link_refused() {
            return Self::Precondition(format!(
                "{error}: the file system of the export has no hard links, such as FAT, or the server does not offer them; the driver \
                 needs them to give each directory to one volume: use an export on another file system"
            ));
        }
        if !error.is_denied() {
            return Self::Sys(error);
        }
        Self::Denied(format!(
            "{error}: the server does not let the driver act as root here; export the share with no_root_squash and \
             without all_squash, or make the share's top directory writable for the user that the server takes it for, and use \
             neither uid and gid nor `fsGroup: require`"
        ))
    }
}

/// Makes one error of several. If there is only one, it is returned as it is.
pub(in crate::volume) fn several(mut errors: Vec<Error>) -> Error {
    if errors.len() == 1 { errors.swap_remove(0) } else { Error::Several(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn a_stale_handle_is_noticed_among_several_errors() {
        let sys = |errno| Error::from(SysError::new("open", "nas:/srv/x", errno));
        assert!(sys(Errno::EIO).with_cleanup::<()>(Err(sys(Errno::ESTALE))).is_stale());
        assert!(
            several(vec![several(vec![sys(Errno::EIO), sys(Errno::ESTALE)]), sys(Errno::EIO)]).is_stale()
        );
        assert!(!several(vec![sys(Errno::EIO), sys(Errno::ENOENT)]).is_stale());
    }

    #[test]
    fn missing_hard_links_are_told_from_a_denied_permission() {
        let told = |op, errno| Error::from(SysError::new(op, "nas:/srv/x", errno)).to_string();
        for errno in [Errno::EPERM, Errno::EOPNOTSUPP, Errno::ENOSYS, Errno::EMLINK] {
            assert!(told("link", errno).contains("has no hard links"), "{errno}");
        }
        assert!(told("mkdir", Errno::EPERM).contains("no_root_squash"));
        assert!(told("link", Errno::EACCES).contains("no_root_squash"));
    }
}
