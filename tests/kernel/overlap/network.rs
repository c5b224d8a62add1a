//! Networks of their own for processes of the driver, so that each is a separate NFS client for the kernel: it has its own
//! connections, its own caches and its own client id.

use std::fs;
use std::process::Command;

use crate::fixture::server;

/// The name of the server. The handles of all members have it, so that they name the same volumes.
pub(crate) const SERVER: &str = "nfs-shared";
/// Another name of the same server, which every network reaches through a second link. To the NFS client it is another server.
pub(crate) const HEALTHY: &str = "nfs-healthy";
/// The two names, the addresses that each network reaches through its own links, and the beginnings of the links' names.
const LINKS: [(&str, &str, &str); 2] = [(SERVER, "10.77.0.1", "to"), (HEALTHY, "10.78.0.1", "by")];

/// A network namespace with two links to the server. It is removed when dropped.
#[derive(Debug)]
pub(crate) struct Network {
    number: u8,
}

impl Network {
    /// Makes the network with this number, from 1. What an earlier test left of it is removed first.
    pub(crate) fn make(number: u8) -> Self {
        let network = Self { number };
        network.remove();
        let name = network.name();
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        for (server, address, prefix) in LINKS {
            let hosts = fs::read_to_string("/etc/hosts").unwrap();
            if !hosts.contains(server) {
                fs::write("/etc/hosts", format!("{hosts}{address} {server}\n")).unwrap();
                ip(&format!("addr add {address}/32 dev lo"));
            }
            let link = format!("{prefix}-{name}");
            let net = address.strip_suffix(".0.1").unwrap();
            ip(&format!("link add {link} type veth peer name {prefix} netns {name}"));
            ip(&format!("addr add {net}.{number}.1/24 dev {link}"));
            ip(&format!("link set {link} up"));
            ip(&format!("-n {name} addr add {net}.{number}.2/24 dev {prefix}"));
            ip(&format!("-n {name} link set {prefix} up"));
            ip(&format!("-n {name} route add {address} via {net}.{number}.1"));
        }
        network
    }

    fn name(&self) -> String {
        format!("client-{}", self.number)
    }

    /// The end of the link to [`SERVER`] that is the server's.
    fn link(&self) -> String {
        format!("to-{}", self.name())
    }

    /// A command that executes its arguments in this network, with a host name of its own: the name is a part of the client
    /// id of NFS 4.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name())).args(["unshare", "--uts", "/bin/sh", "-c"]);
        command.args(["hostname \"$0\" && exec \"$@\"", &self.name()]);
        command
    }

    /// Loses every packet from [`SERVER`] to the client, or none. The server still gets the client's requests for a while, so that the client does
    /// not learn what became of them.
    pub(crate) fn lose_replies(&self, lost: bool) {
        self.netem(if lost { "loss 100%" } else { "loss 0%" });
    }

    /// Delays every packet from [`SERVER`] to the client, so that a process is often stopped between two requests of one call.
    pub(crate) fn slow_down(&self, milliseconds: u32) {
        self.netem(&format!("delay {milliseconds}ms"));
    }

    fn netem(&self, what: &str) {
        server::run(Command::new("modprobe").arg("sch_netem"));
        let rule = format!("qdisc replace dev {} root netem {what}", self.link());
        server::run(Command::new("tc").args(rule.split(' ')));
    }

    fn remove(&self) {
        // Each fails if there is nothing to remove.
        let _ = Command::new("ip").args(["netns", "delete", &self.name()]).output();
        for (.., prefix) in LINKS {
            let _ =
                Command::new("ip").args(["link", "delete", &format!("{prefix}-{}", self.name())]).output();
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // A client that gets no replies cannot end.
        let _ = Command::new("tc").args(["qdisc", "del", "dev", &self.link(), "root"]).output();
        self.remove();
    }
}

fn ip(arguments: &str) {
    server::run(Command::new("ip").args(arguments.split(' ')));
}
