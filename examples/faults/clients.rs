//! The networks of the two services. For the kernel's NFS client, each network is a separate node. It has one link to the server that fails and
//! one to the healthy server.

use std::process::Command;

use anyhow::Result;

use crate::host::run;

/// The name of the server that fails.
pub(crate) const FAULTY: &str = "nfs-faulty";
/// The name of the healthy server, which runs in the driver's guest.
pub(crate) const HEALTHY: &str = "nfs-healthy";

/// /etc/hosts of the guest, with and without the server that fails.
pub(crate) fn know_servers(faulty: bool) -> Result<()> {
    let line = if faulty { format!("{} {FAULTY}\n", crate::host::FAULTY) } else { String::new() };
    let hosts = format!("127.0.0.1 localhost nfs-server nfs-server.test\n10.78.0.1 {HEALTHY}\n{line}");
    Ok(std::fs::write("/etc/hosts", hosts)?)
}

/// Which name server the services ask.
pub(crate) fn name_server(silent: bool) -> Result<()> {
    // At the first address nobody answers, and at the second one the port is closed.
    let address = if silent { "10.79.0.77" } else { "127.0.0.1" };
    Ok(std::fs::write("/etc/resolv.conf", format!("nameserver {address}\n"))?)
}

/// Prepares everything that both clients use.
pub(crate) fn prepare() -> Result<()> {
    ip("addr add 10.79.0.2/24 dev vec0")?;
    ip("link set vec0 up")?;
    // Packets to this address go to a network card that does not exist.
    ip("neigh add 10.79.0.77 lladdr 02:00:00:00:00:77 nud permanent dev vec0")?;
    ip("addr add 10.78.0.1/32 dev lo")?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    run(Command::new("modprobe").args(["-a", "sch_netem", "veth"]))?;
    know_servers(true)?;
    name_server(false)
}

/// What happens to the packets on the link to the server that fails.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    pub(crate) requests_lost: bool,
    pub(crate) replies_lost: bool,
    /// In each direction, in milliseconds.
    pub(crate) delay: u32,
}

/// The network of one service.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    name: String,
    number: u8,
}

impl Client {
    pub(crate) fn make(number: u8) -> Result<Self> {
        let client = Self { name: format!("client-{number}"), number };
        let name = &client.name;
        ip(&format!("netns add {name}"))?;
        ip(&format!("-n {name} link set lo up"))?;
        for (link, net) in [("to", "10.77"), ("by", "10.78")] {
            ip(&format!("link add {link}-{number} type veth peer name {link} netns {name}"))?;
            ip(&format!("addr add {net}.{number}.1/24 dev {link}-{number}"))?;
            ip(&format!("link set {link}-{number} up"))?;
            ip(&format!("-n {name} addr add {net}.{number}.2/24 dev {link}"))?;
            ip(&format!("-n {name} link set {link} up"))?;
        }
        client.route()?;
        ip(&format!("-n {name} route add 10.78.0.1 via 10.78.{number}.1"))?;
        Ok(client)
    }

    fn route(&self) -> Result<()> {
        ip(&format!("-n {} route add 10.79.0.0/24 via 10.77.{}.1", self.name, self.number))
    }

    /// A command that executes its arguments in this network, with a host name of its own: the name is a part of the client id of
    /// NFS 4.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).args(["unshare", "--uts", "/bin/sh", "-c"]);
        command.args(["hostname \"$0\" && exec \"$@\"", &self.name]);
        command
    }

    pub(crate) fn set(&self, link: Link) -> Result<()> {
        let Link { requests_lost, replies_lost, delay } = link;
        let netem = |lost: bool| format!("root netem delay {delay}ms loss {}%", if lost { 100 } else { 0 });
        tc(&format!("qdisc replace dev to-{} {}", self.number, netem(replies_lost)))?;
        tc(&format!("-n {} qdisc replace dev to {}", self.name, netem(requests_lost)))
    }

    /// Takes the link down, or up again.
    pub(crate) fn up(&self, up: bool) -> Result<()> {
        ip(&format!("-n {} link set to {}", self.name, if up { "up" } else { "down" }))?;
        if up { self.route() } else { Ok(()) }
    }
}

pub(crate) fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' '))).map(drop)
}

fn tc(arguments: &str) -> Result<()> {
    run(Command::new("tc").args(arguments.split(' '))).map(drop)
}
