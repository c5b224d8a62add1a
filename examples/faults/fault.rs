//! What can happen to the server and to the network.

use anyhow::Result;

use crate::agent::{on_host, on_server, server_is_up};
use crate::clients::{self, Link};
use crate::world::{Version, World};

/// A fault of the server or of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Paused,
    Killed,
    KilledRefused,
    Restarted,
    OtherFsid,
    DroppedBothWays,
    DroppedOneWay,
    PortClosed,
    LinkDown,
    Slow,
    DiskFull,
    QuotaExceeded,
    Withdrawn,
    ReadOnly,
    RootSquash,
    DnsSilent,
    DnsGone,
    RpcbindSilent,
}

/// When the fault begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the services start.
    Cold,
    /// After they have mounted the export, before the calls.
    Warm,
    /// While the calls run, on a slow link.
    During,
}

/// What a round trip takes while the calls of [`Moment::During`] begin, in milliseconds in each direction.
const SLOW_BEFORE: u32 = 60;
/// A round trip of two seconds.
const SLOW: u32 = 1000;
/// Fills the file system until it has neither a block nor an inode for anything new.
const FILL: &str = "
mkdir -p /share/.fill
fallocate -l $(($(stat -f -c '%a * %S' /share) - 1048576)) /share/.fill/most
fill() { while : >\"/share/.fill/$i\"; do i=$((i + 1)); done 2>/dev/null; true; }
i=0; fill
dd if=/dev/zero of=/share/.fill/rest bs=4k conv=fsync 2>/dev/null || true
fill; sync; df /share; df -i /share";

impl Fault {
    pub(crate) const ALL: [Self; 18] = [
        Self::Paused,
        Self::Killed,
        Self::KilledRefused,
        Self::Restarted,
        Self::OtherFsid,
        Self::DroppedBothWays,
        Self::DroppedOneWay,
        Self::PortClosed,
        Self::LinkDown,
        Self::Slow,
        Self::DiskFull,
        Self::QuotaExceeded,
        Self::Withdrawn,
        Self::ReadOnly,
        Self::RootSquash,
        Self::DnsSilent,
        Self::DnsGone,
        Self::RpcbindSilent,
    ];

    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Killed => "killed",
            Self::KilledRefused => "killed-rst",
            Self::Restarted => "restarted",
            Self::OtherFsid => "other-fsid",
            Self::DroppedBothWays => "dropped",
            Self::DroppedOneWay => "dropped-one-way",
            Self::PortClosed => "port-closed",
            Self::LinkDown => "link-down",
            Self::Slow => "slow",
            Self::DiskFull => "disk-full",
            Self::QuotaExceeded => "quota",
            Self::Withdrawn => "withdrawn",
            Self::ReadOnly => "read-only",
            Self::RootSquash => "root-squash",
            Self::DnsSilent => "dns-silent",
            Self::DnsGone => "dns-gone",
            Self::RpcbindSilent => "rpcbind-silent",
        }
    }

    /// What happens, for the reader of the table.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Paused => "the server's machine is stopped (SIGSTOP) and continues later",
            Self::Killed => "the server's machine is killed and boots later; its address is silent",
            Self::KilledRefused => "the same, and another machine with its address refuses connections (RST)",
            Self::Restarted => "the NFS server is restarted, with a grace period of 10 s",
            Self::OtherFsid => "the NFS server is restarted and exports the directory with another fsid",
            Self::DroppedBothWays => "all packets are lost in both directions",
            Self::DroppedOneWay => "all packets from the server are lost",
            Self::PortClosed => "the NFS server is stopped; its machine refuses connections",
            Self::LinkDown => "the link of the driver's node is down",
            Self::Slow => "a round trip takes 2 s",
            Self::DiskFull => "the file system of the export has neither blocks nor inodes left",
            Self::QuotaExceeded => "the export is over its project quota",
            Self::Withdrawn => "the server does not export the directory any more",
            Self::ReadOnly => "the export becomes read-only",
            Self::RootSquash => "the export gets root_squash",
            Self::DnsSilent => "the name server does not answer",
            Self::DnsGone => "the port of the name server is closed",
            Self::RpcbindSilent => "rpcbind on the server accepts connections and does not answer",
        }
    }

    /// Why this fault is not tried at this moment; `None` if it is.
    pub(crate) const fn impossible(self, version: Version) -> Option<&'static str> {
        match (self, version) {
            (Self::RpcbindSilent, Version::V42) => Some("NFS 4 does not use rpcbind"),
            _ => None,
        }
    }

    /// Whether the server can answer while the fault lasts, once it has begun.
    pub(crate) const fn is_dead(self) -> bool {
        matches!(
            self,
            Self::Paused
                | Self::Killed
                | Self::KilledRefused
                | Self::DroppedBothWays
                | Self::DroppedOneWay
                | Self::PortClosed
                | Self::LinkDown
        )
    }

    /// Begins the fault.
    pub(crate) fn begin(self, world: &World) -> Result<()> {
        match self {
            Self::Paused => on_host("pause"),
            Self::Killed => on_host("kill"),
            Self::KilledRefused => {
                on_host("kill")?;
                on_host("refuse")?;
                clients::ip("neigh flush dev vec0")
            }
            Self::Restarted => script("/run/vm/guest/nfsd stop; sleep 1; /run/vm/guest/nfsd start -g"),
            Self::OtherFsid => script(
                "/run/vm/guest/nfsd stop; bash /run/export 11 rw,no_root_squash; /run/vm/guest/nfsd start",
            ),
            Self::DroppedBothWays => {
                world.link(Link { requests_lost: true, replies_lost: true, ..Link::default() })
            }
            Self::DroppedOneWay => world.link(Link { replies_lost: true, ..Link::default() }),
            Self::PortClosed => script("/run/vm/guest/nfsd stop"),
            Self::LinkDown => world.clients.iter().try_for_each(|client| client.up(false)),
            Self::Slow => world.link(Link { delay: SLOW, ..Link::default() }),
            Self::DiskFull => script(FILL),
            Self::QuotaExceeded => quota("bhard=4k ihard=1"),
            Self::Withdrawn => script("exportfs -ua; exportfs -f"),
            Self::ReadOnly => export("ro,no_root_squash"),
            Self::RootSquash => export("rw,root_squash"),
            Self::DnsSilent | Self::DnsGone => {
                clients::know_servers(false)?;
                clients::name_server(self == Self::DnsSilent)
            }
            Self::RpcbindSilent => script("pkill -STOP -x rpcbind"),
        }
    }

    /// Ends the fault. The server may still boot when this returns.
    pub(crate) fn end(self, world: &World) -> Result<()> {
        match self {
            Self::Paused => on_host("continue"),
            Self::Killed => on_host("start").and_then(|()| server_is_up()),
            Self::KilledRefused => {
                on_host("no-refuse")?;
                on_host("start")?;
                clients::ip("neigh flush dev vec0")?;
                server_is_up()
            }
            // The new fsid stays until the services have shown that they can use it.
            Self::Restarted | Self::OtherFsid => Ok(()),
            Self::DroppedBothWays | Self::DroppedOneWay | Self::Slow => world.link(Link::default()),
            Self::PortClosed => script("/run/vm/guest/nfsd start"),
            Self::LinkDown => world.clients.iter().try_for_each(|client| client.up(true)),
            Self::DiskFull => script("rm -rf /share/.fill"),
            Self::QuotaExceeded => quota("bhard=0 ihard=0"),
            Self::Withdrawn => script("exportfs -ra"),
            Self::ReadOnly | Self::RootSquash => export("rw,no_root_squash"),
            Self::DnsSilent | Self::DnsGone => {
                clients::know_servers(true)?;
                clients::name_server(false)
            }
            Self::RpcbindSilent => script("pkill -CONT -x rpcbind"),
        }
    }

    /// Restores everything, when nothing on the export is in use any more.
    pub(crate) fn reset(self) -> Result<()> {
        match self {
            Self::OtherFsid => script(
                "/run/vm/guest/nfsd stop; bash /run/export 10 rw,no_root_squash; /run/vm/guest/nfsd start",
            ),
            _ => Ok(()),
        }
    }
}

impl Moment {
    pub(crate) const ALL: [Self; 3] = [Self::Cold, Self::Warm, Self::During];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::During => "during",
        }
    }
}

/// Slows the link down, so that a call takes long enough for a fault to begin in the middle of it.
pub(crate) fn slow_before(world: &World) -> Result<()> {
    world.link(Link { delay: SLOW_BEFORE, ..Link::default() })
}

fn script(script: &str) -> Result<()> {
    on_server(script).map(drop)
}

fn export(options: &str) -> Result<()> {
    script(&format!("bash /run/export 10 {options}; exportfs -ra; exportfs -f"))
}

fn quota(limits: &str) -> Result<()> {
    script(&format!(
        "xfs_quota -x -c 'project -s -p /export/share 1' -c 'limit -p {limits} 1' /export/share >/dev/null"
    ))
}
