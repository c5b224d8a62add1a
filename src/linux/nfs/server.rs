//! Finding a server that answers, before anything is mounted. Each question has a limit, and its own message when it fails.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::MountError;
use super::options::NfsOptions;
use super::rpc;
use super::source::NfsSource;
use crate::linux::bounded::{first_answer, within};
use crate::linux::step;

/// How long the resolver of this host may take for one name.
const RESOLUTION: Duration = Duration::from_secs(10);
/// What to check if it takes longer.
const NAME_SERVERS: &str =
    "are the name servers in this node's /etc/resolv.conf right, and can this node reach them?";
/// If an address has not answered after this, the next one is asked too.
const PATIENCE: Duration = Duration::from_millis(500);
/// The port of rpcbind.
const RPCBIND_PORT: u16 = 111;

/// A server that answers.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// Where it answers.
    pub(super) address: SocketAddr,
    /// The lowest and the highest major version of NFS that it offers.
    pub(super) offered: RangeInclusive<u32>,
}

/// The addresses of a server that the options allow, with the port of its NFS service. At most 10 s.
pub fn addresses(export: &NfsSource, options: &NfsOptions) -> Result<Vec<SocketAddr>, MountError> {
    let mut addresses = resolve(export, options.port())?;
    addresses.retain(|address| options.allows(address.ip()));
    Ok(addresses)
}

/// Connects to an address and leaves again. At most 5 s.
pub fn connect(address: SocketAddr) -> io::Result<()> {
    TcpStream::connect_timeout(&address, rpc::LIMIT).map(drop)
}

/// The lowest and the highest major version of NFS that is offered at an address. At most 5 s.
pub fn versions_at(address: SocketAddr) -> io::Result<RangeInclusive<u32>> {
    rpc::nfs_versions(address)
}

/// Whether this node has a status monitor (rpc.statd), which locks with NFS 3 need: without one, the kernel lets a program wait for half a
/// minute and then refuses the lock. At most 5 s.
#[must_use]
pub fn has_status_monitor() -> bool {
    rpc::has_status_monitor(SocketAddr::from(([127, 0, 0, 1], RPCBIND_PORT))).unwrap_or_default()
}

/// Asks for rpcbind and mountd at the address of a server, which mounts with NFS 3 need. At most 10 s.
pub fn nfs_3_programs_at(
    export: &NfsSource,
    options: &NfsOptions,
    address: SocketAddr,
) -> Result<(), MountError> {
    ask_for_nfs_3(export, options, &Server { address, offered: 3..=3 })
}

/// The first of `exports` whose server answers, with its number. All names are resolved and all addresses are asked in their order; one that
/// is silent costs [`PATIENCE`] if another one answers. At most 15 s and [`PATIENCE`] for each further address.
pub(super) fn find_first(
    exports: &[NfsSource],
    options: &NfsOptions,
) -> Result<(usize, Server), Vec<MountError>> {
    let options = options.clone();
    first_answer(exports.to_vec(), PATIENCE, move |export: NfsSource| find(&export, &options))
}

/// The first address of the server at which NFS answers, and the versions that it offers. Over RDMA no server can be asked
/// before the mount, so the first address counts, with every version.
fn find(export: &NfsSource, options: &NfsOptions) -> Result<Server, MountError> {
    let port = options.port();
    let addresses = addresses(export, options)?;
    if let Some(&address) = addresses.first().filter(|_| options.is_rdma()) {
        return Ok(Server { address, offered: 3..=4 });
    }
    let found = first_answer(addresses, PATIENCE, |address: SocketAddr| {
        step::begin(format!("the question to {address} which versions of NFS it offers"));
        match rpc::nfs_versions(address) {
            Ok(offered) => Ok(Server { address, offered }),
            Err(reason) => Err(format!("{address} ({reason})")),
        }
    });
    match found {
        Ok((_, server)) => Ok(server),
        Err(tried) => Err(MountError::Unreachable { export: export.clone(), port, tried }),
    }
}

fn resolve(export: &NfsSource, port: u16) -> Result<Vec<SocketAddr>, MountError> {
    step::begin_elsewhere(
        format!("the resolution of the name {}, to mount {export}", export.server),
        NAME_SERVERS,
    );
    let server = export.server.clone();
    let answer = within(RESOLUTION, move || (server.as_str(), port).to_socket_addrs(), drop);
    let silent = || {
        let seconds = RESOLUTION.as_secs();
        let reason = format!(
            "the name servers of this node have given no answer for {seconds} s: are those in its /etc/resolv.conf right and \
             reachable? An address instead of a name needs none"
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, reason))
    };
    let addresses = answer.unwrap_or_else(silent);
    addresses.map(Iterator::collect).map_err(|reason| MountError::Resolve { export: export.clone(), reason })
}

/// Asks what a mount with NFS 3 needs besides the NFS server: rpcbind, and the mountd that it names. At most 10 s.
pub(super) fn ask_for_nfs_3(
    export: &NfsSource,
    options: &NfsOptions,
    server: &Server,
) -> Result<(), MountError> {
    let is_udp = |name| options.get(name).is_some_and(|protocol| protocol.starts_with("udp"));
    if options.is_rdma() || options.contains("udp") || is_udp("proto") || is_udp("mountproto") {
        // These calls go over TCP only.
        return Ok(());
    }
    let silent = |program, address| {
        move |reason| MountError::Helper { export: export.clone(), program, address, reason }
    };
    let at = |port| SocketAddr::new(server.address.ip(), port);
    let given = options.get("mountport").and_then(|port| port.parse().ok()).filter(|&port| port != 0);
    let mountd = match given {
        Some(port) => at(port),
        None if server.address.is_ipv6() => return Ok(()),
        None => {
            let rpcbind = at(RPCBIND_PORT);
            step::begin(format!("the question to rpcbind at {rpcbind} for the port of mountd"));
            at(rpc::mountd_port(rpcbind).map_err(silent("rpcbind", rpcbind))?)
        }
    };
    step::begin(format!("the question to mountd at {mountd} whether it answers"));
    rpc::ask_mountd(mountd).map_err(silent("mountd", mountd))
}
