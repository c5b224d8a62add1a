//! Mounting an NFS export with mount(2), without the program mount.nfs.
//!
//! What mount.nfs(8) does before the system call is done here: resolve the server's name, ask the server which versions
//! it offers, and try these versions from the newest to the oldest.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sys_mount::{Mount, MountFlags};

use super::error::MountError;
use super::options::{NfsOptions, Version};
use super::server::{self, Server};
use super::source::NfsSource;
use crate::linux::bounded::within;
use crate::linux::step;

/// How long mount(2) may take. It asks a server that has just answered, so a longer time means that something else is wrong.
const LIMIT: Duration = Duration::from_secs(30);

/// What undoes a mount that was made after its limit had passed.
pub type Undo = fn(&Path);

/// Mounts the first of `exports` that can be mounted on the directory `mount_point`. Returns its number and the NFS version in use. The
/// mount is nosuid, nodev and noexec, because only the driver uses it. Each bind mount gets its own flags.
///
/// Blocks for at most 10 s of name resolution, 5 s until a server has answered, 10 s of further questions with NFS 3, and 30 s of
/// mount(2). If mount(2) has not ended by then, the error is [`MountError::Silent`], and the mount point belongs to a thread that calls
/// `undo` with it when mount(2) ends.
pub fn mount_first(
    exports: &[NfsSource],
    options: &NfsOptions,
    mount_point: &Path,
    undo: Undo,
) -> Result<(usize, String), MountError> {
    let mut failures = Vec::new();
    let mut left: Vec<usize> = (0..exports.len()).collect();
    while !left.is_empty() {
        let sources: Vec<NfsSource> = left.iter().map(|&number| exports[number].clone()).collect();
        let (found, server) = match server::find_first(&sources, options) {
            Ok(found) => found,
            Err(unreachable) => {
                failures.extend(unreachable);
                break;
            }
        };
        let number = left.remove(found);
        match mount(&exports[number], &server, options, mount_point, undo) {
            Ok(version) => return Ok((number, version)),
            Err(silent @ MountError::Silent { .. }) => return Err(silent),
            Err(failure) => failures.push(failure),
        }
    }
    Err(if failures.len() == 1 { failures.swap_remove(0) } else { MountError::NoneOf(failures) })
}

/// Mounts one export from a server that answers, and returns the NFS version in use.
fn mount(
    export: &NfsSource,
    server: &Server,
    options: &NfsOptions,
    mount_point: &Path,
    undo: Undo,
) -> Result<String, MountError> {
    let Server { address, offered } = server;
    let wanted = options.version.map_or(&Version::ALL[..], Version::candidates);
    let not_offered = || MountError::Version {
        export: export.clone(),
        offered: offered.clone(),
        wanted: options.version.map_or_else(|| "3 or 4".to_owned(), |version| version.to_string()),
    };
    let begun = Instant::now();
    let mut failure: Option<MountError> = None;
    for &version in wanted.iter().filter(|version| offered.contains(&major(**version))) {
        if version == Version::V3 {
            server::ask_for_nfs_3(export, options, server)?;
        }
        let attempt =
            Attempt { export: export.clone(), options: options.clone(), address: *address, version };
        let limit = LIMIT.saturating_sub(begun.elapsed());
        let (place, late) = (mount_point.to_owned(), mount_point.to_owned());
        step::begin(format!("mount(2) of {export} with NFS {version} from {address}"));
        let mounted = within(limit, move || attempt.mount(&place), move |_| undo(&late));
        let Some(mounted) = mounted else {
            return Err(MountError::Silent {
                export: export.clone(),
                version,
                address: *address,
                limit: LIMIT,
            });
        };
        let Err(reason) = mounted else { return Ok(version.to_string()) };
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

/// One call of mount(2).
struct Attempt {
    export: NfsSource,
    options: NfsOptions,
    address: SocketAddr,
    version: Version,
}

impl Attempt {
    fn mount(&self, mount_point: &Path) -> io::Result<()> {
        let Self { export, options, address, version } = self;
        let mut data = format!("vers={version},addr={}", with_zone(*address));
        if *version == Version::V4Minor(0) && !options.contains("clientaddr") {
            // An NFS 4.0 server connects to the client to recall delegations, and needs the client's address.
            if let Some(own) = own_address(*address) {
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
