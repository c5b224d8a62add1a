//! Why an export cannot be mounted, in words that tell an administrator what to check.

use std::io;
use std::ops::RangeInclusive;

use nix::errno::Errno;

use super::options::Version;
use super::source::NfsSource;
use crate::linux::error::SysError;

/// Why an export could not be mounted. Every message names the export and says what to check.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The resolver of this host does not know the server's name.
    #[error("mount {export}: cannot resolve the server's name `{}`: {reason}", export.server)]
    Resolve {
        /// The export that could not be mounted.
        export: NfsSource,
        /// The answer of the resolver.
        reason: io::Error,
    },
    /// No NFS server answered at any of the addresses.
    #[error("mount {export}: no NFS server answers at {}: is it running, and is TCP port {} open to this node?",
        tried.join(", "), port)]
    Unreachable {
        /// The export that could not be mounted.
        export: NfsSource,
        /// The port that was tried.
        port: u16,
        /// Each address with the reason why it failed.
        tried: Vec<String>,
    },
    /// The server answers, but does not offer the version in the mount options.
    #[error("mount {export}: the server offers NFS {} to {}, the options ask for {wanted}", offered.start(), offered.end())]
    Version {
        /// The export that could not be mounted.
        export: NfsSource,
        /// The lowest and the highest major version that the server offers.
        offered: RangeInclusive<u32>,
        /// The version in the mount options.
        wanted: String,
    },
    /// mount(2) failed.
    #[error("mount {export} (NFS {version}): {reason}{}", hint(reason, *version))]
    Refused {
        /// The export that could not be mounted.
        export: NfsSource,
        /// The version of the failed attempt.
        version: Version,
        /// The error of mount(2).
        reason: io::Error,
    },
    /// None of several sources could be mounted.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; and "))]
    NoneOf(Vec<MountError>),
    /// A system call on this host failed.
    #[error(transparent)]
    Local(#[from] SysError),
}

impl MountError {
    /// Whether no server answered, or none was found by its name.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Unreachable { .. } => true,
            Self::Refused { reason, .. } => reason.kind() == io::ErrorKind::TimedOut,
            Self::NoneOf(errors) => errors.iter().all(Self::is_unreachable),
            Self::Version { .. } | Self::Local(_) => false,
        }
    }
}

/// What to check when mount(2) has failed with this errno.
fn hint(reason: &io::Error, version: Version) -> &'static str {
    match (reason.raw_os_error().map(Errno::from_raw), version) {
        (Some(Errno::EACCES | Errno::EPERM), _) => {
            ": the server denies access: does it export this share, and is this node's address in its export list?"
        }
        (Some(Errno::ENOENT), Version::V3) => ": the server has no such share",
        (Some(Errno::ENOENT), _) => {
            ": the server has no such share (with NFS 4 the path begins at the server's pseudo root, such as an \
             export with fsid=0)"
        }
        (Some(Errno::EINVAL), _) => ": the kernel refuses a mount option: check the mount options",
        (Some(Errno::ENODEV), _) => {
            ": this node's kernel has no NFS client: load the module nfs (and nfsv3 or nfsv4)"
        }
        (Some(Errno::EPROTONOSUPPORT), _) => ": the server does not offer this version",
        (_, Version::V3) => {
            ": NFS 3 also needs rpcbind and mountd on the server, and for locks rpcbind and rpc.statd on this node \
             (or the mount option nolock)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_what_to_look_at() {
        let export = NfsSource { server: "10.0.0.5".to_owned(), share: "/srv/k8s".to_owned() };
        let reason = io::Error::from_raw_os_error(Errno::EACCES as i32);
        let error = MountError::Refused { export, version: Version::V4Minor(2), reason };
        let text = error.to_string();
        assert!(text.starts_with("mount 10.0.0.5:/srv/k8s (NFS 4.2): Permission denied"), "{text}");
        assert!(text.ends_with("in its export list?"), "{text}");
    }
}
