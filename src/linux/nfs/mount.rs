//! Mounting an NFS export with mount(2), without the program mount.nfs.
//!
//! What mount.nfs(8) does before the system call is done here: resolve the server's name, ask the server which versions
//! it offers, and try these versions from the newest to the oldest.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;

use nix::errno::Errno;
use sys_mount::{Mount, MountFlags};

use super::error::MountError;
use super::options::{NfsOptions, Version};
use super::rpc_ping;
use super::source::NfsSource;
use crate::linux::step;

/// Mounts the first of `exports` that can be mounted ([`mount`]). Returns it and the NFS version in use.
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

/// Mounts `export` on the directory `mount_point` and returns the NFS version in use. The mount is nosuid, nodev and
/// noexec, because only the driver uses it. Each bind mount gets its own flags.
///
/// Blocks for name resolution, for up to 15 s for each address until a server has answered, and for mount(2).
pub fn mount(export: &NfsSource, options: &NfsOptions, mount_point: &Path) -> Result<String, MountError> {
    let (address, offered) = find_server(export, options)?;
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
        // Report the most useful failure: a refusal rather than "version not supported", and of two refusals the
        // one of the newer version.
        let is_more_useful =
            !matches!(&failure, Some(MountError::Refused { reason, .. }) if !is_unsupported_version(reason));
        if is_more_useful {
            failure = Some(MountError::Refused {
                export: export.clone(),
                version,
                options: options.clone(),
                reason,
            });
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

/// The first address of the server at which NFS answers, and the versions that it offers. Over RDMA no server can be asked
/// before the mount, so the first address counts, with every version.
fn find_server(
    export: &NfsSource,
    options: &NfsOptions,
) -> Result<(SocketAddr, RangeInclusive<u32>), MountError> {
    let port = options.port();
    let resolve_error = |reason| MountError::Resolve { export: export.clone(), reason };
    step::begin(format!("the resolution of the name {}", export.server));
    let addresses = (export.server.as_str(), port).to_socket_addrs().map_err(resolve_error)?;
    let mut tried = Vec::new();
    for address in addresses.filter(|address| options.allows(address.ip())) {
        if options.is_rdma() {
            return Ok((address, 3..=4));
        }
        step::begin(format!("the question to {address} which versions of NFS it offers"));
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
    let mut data = format!("vers={version},addr={}", with_zone(address));
    if version == Version::V4Minor(0) && !options.contains("clientaddr") {
        // An NFS 4.0 server connects to the client to recall delegations, and needs the client's address.
        if let Some(own) = own_address(address) {
            data = format!("{data},clientaddr={own}");
        }
    }
    let rest = options.to_mount_data();
    if !rest.is_empty() {
        data = format!("{data},{rest}");
    }
    step::begin(format!("mount(2) of {export} with NFS {version} from {address}"));
    Mount::builder()
        .fstype("nfs")
        .flags(MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC)
        .data(&data)
        .mount(export.to_string(), mount_point)
        .map(drop)
}

/// The address of the server as mount(2) takes it: a link-local IPv6 address needs its zone (RFC 4007 section 11).
fn with_zone(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => address.ip().to_string(),
    }
}

/// The address of this host in connections to `server`. Connecting a datagram socket sends no packet.
fn own_address(server: SocketAddr) -> Option<String> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(server).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

/// Whether an older version may succeed: the server lacks this version, or the share has another path in its NFS 4
/// name space than for NFS 3 clients. If the server denies access, another version would not help.
fn is_worth_an_older_version(reason: &io::Error) -> bool {
    is_unsupported_version(reason) || reason.raw_os_error() == Some(Errno::ENOENT as i32)
}

fn is_unsupported_version(reason: &io::Error) -> bool {
    reason.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32)
}
