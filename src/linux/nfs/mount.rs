//! Mounting an NFS export with mount(2) itself: no mount.nfs, no rpcbind, no shell.
//!
//! What mount.nfs(8) does besides the call is done here: the server's name is resolved, the server is asked
//! whether it is there at all and which versions it has, and the versions are tried from the newest down.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;

use nix::errno::Errno;
use sys_mount::{Mount, MountFlags};

use super::options::{NfsOptions, Version};
use super::rpc_ping;
use crate::linux::error::SysError;

/// An export's server and share. Whoever makes one has checked both: no control characters, the share absolute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NfsSource {
    /// Host name or address; an IPv6 address without brackets.
    pub server: String,
    /// Absolute path on the server.
    pub share: String,
}

impl fmt::Display for NfsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.server.contains(':') {
            write!(f, "[{}]:{}", self.server, self.share)
        } else {
            write!(f, "{}:{}", self.server, self.share)
        }
    }
}

/// Why an export could not be mounted. Every message says which export, and what to look at.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// This host's resolver does not know the name.
    #[error("mount {export}: cannot resolve the server's name `{}`: {reason}", export.server)]
    Resolve {
        /// What was to be mounted.
        export: NfsSource,
        /// The resolver's answer.
        reason: io::Error,
    },
    /// Nothing that speaks NFS answered at any of the server's addresses.
    #[error("mount {export}: no NFS server answers at {}: is it running, and is TCP port {} open to this node?",
        tried.join(", "), port)]
    Unreachable {
        /// What was to be mounted.
        export: NfsSource,
        /// The port that was tried.
        port: u16,
        /// Each address, with what happened there.
        tried: Vec<String>,
    },
    /// The server is there, but none of the versions asked for is.
    #[error("mount {export}: the server offers NFS {} to {}, the options ask for {wanted}", offered.start(), offered.end())]
    Version {
        /// What was to be mounted.
        export: NfsSource,
        /// Major versions that the server has.
        offered: RangeInclusive<u32>,
        /// The version in the mount options.
        wanted: String,
    },
    /// mount(2) failed.
    #[error("mount {export} (NFS {version}): {reason}{}", hint(reason, *version))]
    Refused {
        /// What was to be mounted.
        export: NfsSource,
        /// The version tried when it failed.
        version: Version,
        /// The kernel's answer.
        reason: io::Error,
    },
    /// None of several servers would do.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; and "))]
    NoneOf(Vec<MountError>),
    /// Something on this host failed.
    #[error(transparent)]
    Local(#[from] SysError),
}

/// What to look at when mount(2) has failed for this reason.
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

/// Mounts the first of several exports that can be, with [`mount`], and says which.
pub fn mount_first<'a>(
    exports: &'a [NfsSource],
    options: &NfsOptions,
    mount_point: &Path,
) -> Result<(&'a NfsSource, String), MountError> {
    let mut failures = Vec::new();
    for export in exports {
        match mount(export, options, mount_point) {
            Ok(version) => return Ok((export, version)),
            Err(failure) => failures.push(failure),
        }
    }
    Err(if failures.len() == 1 { failures.swap_remove(0) } else { MountError::NoneOf(failures) })
}

/// Mounts `export` on the directory `mount_point` and returns the version agreed with the server. The mount is
/// nosuid, nodev and noexec: it is for the driver, and each bind gets its own flags.
///
/// Blocks for name resolution, for at most 15 s an address until a server has answered, and for mount(2).
pub fn mount(export: &NfsSource, options: &NfsOptions, mount_point: &Path) -> Result<String, MountError> {
    let (address, offered) = find_server(export, options.port())?;
    let wanted = options.version.map_or(&Version::ALL[..], Version::candidates);
    let not_offered = || MountError::Version {
        export: export.clone(),
        offered: offered.clone(),
        wanted: options.version.map_or_else(|| "3 or 4".to_owned(), |version| version.to_string()),
    };
    let mut failure: Option<MountError> = None;
    for &version in wanted.iter().filter(|version| offered.contains(&major(**version))) {
        let Err(reason) = mount_version(export, options, address, version, mount_point) else {
            return Ok(version.to_string());
        };
        let try_older = is_worth_an_older_version(&reason);
        // A refusal tells more than "not this version", and what 4 said more than what 3 said after it.
        let tells_more =
            !matches!(&failure, Some(MountError::Refused { reason, .. }) if !is_unsupported_version(reason));
        if tells_more {
            failure = Some(MountError::Refused { export: export.clone(), version, reason });
        }
        if !try_older {
            break;
        }
    }
    Err(failure.unwrap_or_else(not_offered))
}

fn major(version: Version) -> u32 {
    if version == Version::V3 { 3 } else { 4 }
}

/// The first address of the server at which NFS answers, and the versions it names.
fn find_server(export: &NfsSource, port: u16) -> Result<(SocketAddr, RangeInclusive<u32>), MountError> {
    let resolve_error = |reason| MountError::Resolve { export: export.clone(), reason };
    let addresses = (export.server.as_str(), port).to_socket_addrs().map_err(resolve_error)?;
    let mut tried = Vec::new();
    for address in addresses {
        match rpc_ping::nfs_versions(address) {
            Ok(versions) => return Ok((address, versions)),
            Err(reason) => tried.push(format!("{address} ({reason})")),
        }
    }
    Err(MountError::Unreachable { export: export.clone(), port, tried })
}

fn mount_version(
    export: &NfsSource,
    options: &NfsOptions,
    address: SocketAddr,
    version: Version,
    mount_point: &Path,
) -> io::Result<()> {
    let mut data = format!("vers={version},addr={}", address.ip());
    if version == Version::V4Minor(0) && !options.contains("clientaddr") {
        // NFS 4.0 servers call back to hand out delegations, and must be told where.
        if let Some(own) = own_address(address) {
            data = format!("{data},clientaddr={own}");
        }
    }
    let rest = options.to_mount_data();
    if !rest.is_empty() {
        data = format!("{data},{rest}");
    }
    Mount::builder()
        .fstype("nfs")
        .flags(MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC)
        .data(&data)
        .mount(export.to_string(), mount_point)
        .map(drop)
}

/// The address this host uses towards `server`. Connecting a datagram socket sends nothing.
fn own_address(server: SocketAddr) -> Option<String> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(server).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

/// Whether an older version may succeed: the server lacks this one, or its NFS 4 name space is another than
/// the one NFS 3 clients see. A server that is there but denies access is asked once.
fn is_worth_an_older_version(reason: &io::Error) -> bool {
    is_unsupported_version(reason) || reason.raw_os_error() == Some(Errno::ENOENT as i32)
}

fn is_unsupported_version(reason: &io::Error) -> bool {
    reason.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_written_in_brackets() {
        let source =
            |server: &str| NfsSource { server: server.to_owned(), share: "/srv".to_owned() }.to_string();
        assert_eq!(source("nas.example"), "nas.example:/srv");
        assert_eq!(source("2001:db8::1"), "[2001:db8::1]:/srv");
    }

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
