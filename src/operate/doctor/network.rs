//! From the name of the server to the programs that answer there. Nothing is mounted.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::line::{Line, State, begin, report};
use crate::linux::nfs_options::Version;
use crate::linux::{NfsOptions, NfsSource, addresses, connect, nfs_3_programs_at, versions_at};

const NAME: &str = "name";
const PORT: &str = "port";
const VERSIONS: &str = "versions";
const NFS_3: &str = "nfs3-programs";

/// The limits of one question of each kind: those of `linux::nfs`, and a moment.
const TO_RESOLVE: Duration = Duration::from_secs(12);
const TO_CONNECT: Duration = Duration::from_secs(6);
const TO_ANSWER: Duration = Duration::from_secs(6);
const TO_ASK_TWO: Duration = Duration::from_secs(12);

/// What the options mean for the data.
pub(super) fn options(options: &NfsOptions) -> Line {
    const CHECK: &str = "mount-options";
    if options.contains("soft") || options.contains("softerr") {
        return Line::warn(
            CHECK,
            "`soft`: a server that is silent for a while makes writes fail, and few programs notice",
            "remove the option, so that `hard` counts; the driver itself never waits for ever",
        );
    }
    if options.contains("noac") || options.get("actimeo") == Some("0") {
        return Line::warn(
            CHECK,
            "the client keeps no attributes, so every look at a file asks the server",
            "remove `noac` and `actimeo=0`, unless several nodes must see changes of attributes at once",
        );
    }
    let names = options.described();
    Line::ok(CHECK, if names.is_empty() { "none besides the defaults".to_owned() } else { names })
}

/// Looks at each address of each server. If one of them works, what is wrong with the others is a warning. Returns whether one works.
pub(super) fn examine(sources: &[NfsSource], options: &NfsOptions) -> bool {
    let mut lines = Vec::new();
    let mut works = false;
    for source in sources {
        begin(NAME, TO_RESOLVE);
        match addresses(source, options) {
            Err(error) => lines.push(Line::fail(
                NAME,
                error.to_string(),
                "correct the name, or add it to the DNS or /etc/hosts of the node; the driver uses the resolver of the node, and an \
                 address instead of a name needs none",
            )),
            Ok(found) if found.is_empty() => lines.push(Line::fail(
                NAME,
                format!("{} has no address that the mount options allow", source.server),
                "proto=tcp stands for IPv4, and proto=tcp6 for IPv6: remove the option",
            )),
            Ok(found) => {
                let list: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
                lines.push(Line::ok(NAME, format!("{} is {}", source.server, list.join(", "))));
                for address in found {
                    let of_address = examine_address(source, options, address);
                    works |= of_address.iter().all(|line| line.state != State::Fail);
                    lines.extend(of_address);
                }
            }
        }
    }
    for mut line in lines {
        if works && line.state == State::Fail {
            line.state = State::Warn;
        }
        report(line);
    }
    works
}

fn examine_address(source: &NfsSource, options: &NfsOptions, address: SocketAddr) -> Vec<Line> {
    if options.is_rdma() {
        return vec![Line::ok(PORT, format!("{address} is reached over RDMA, which only a mount can try"))];
    }
    begin(PORT, TO_CONNECT);
    let mut lines = Vec::new();
    match connect(address) {
        Ok(()) => lines.push(Line::ok(PORT, format!("{address} accepts connections"))),
        Err(error) => {
            return vec![Line::fail(PORT, format!("{address}: {error}"), why_no_connection(&error))];
        }
    }
    begin(VERSIONS, TO_ANSWER);
    let offered = match versions_at(address) {
        Ok(offered) => offered,
        Err(error) => {
            let advice = "look at what listens at this port on the server (`ss -tlnp`, `rpcinfo -p`); a server that accepts and stays \
                          silent is overloaded, or stopped in the middle";
            lines.push(Line::fail(VERSIONS, format!("{address}: {error}"), advice));
            return lines;
        }
    };
    lines.push(judge_versions(address, &offered, options.version));
    let needs_nfs_3 = options.version == Some(Version::V3) || !offered.contains(&4);
    if needs_nfs_3 && offered.contains(&3) {
        begin(NFS_3, TO_ASK_TWO);
        lines.push(match nfs_3_programs_at(source, options, address) {
            Ok(()) => Line::ok(NFS_3, "rpcbind and mountd answer"),
            Err(error) => Line::fail(
                NFS_3,
                error.to_string(),
                "start both on the server, and allow TCP 111 and the port of mountd; or use NFS 4, which needs neither",
            ),
        });
    }
    lines
}

fn why_no_connection(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: start the NFS server, or name its port in the mount option port="
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "nobody answers: is the machine on, and does a firewall drop packets to this port?"
        }
        _ => "correct the address, or the route to it from this node",
    }
}

fn judge_versions(address: SocketAddr, offered: &RangeInclusive<u32>, wanted: Option<Version>) -> Line {
    let found = format!("{address} offers NFS {} to {}", offered.start(), offered.end());
    let major = match wanted {
        None => None,
        Some(Version::V3) => Some(3),
        Some(_) => Some(4),
    };
    match major {
        Some(major) if !offered.contains(&major) => Line::fail(
            VERSIONS,
            format!("{found}, and the mount options ask for {major}"),
            "change nfsvers= in the mount options, or switch the version on in /etc/nfs.conf of the server",
        ),
        None if !offered.contains(&4) => Line::warn(
            VERSIONS,
            format!("{found}, and not 4"),
            "switch NFS 4.2 on in /etc/nfs.conf of the server: NFS 3 has neither copies by the server nor user attributes",
        ),
        _ => Line::ok(VERSIONS, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_of_a_server_are_compared_with_the_options() {
        let address = SocketAddr::from(([10, 0, 0, 5], 2049));
        let state = |offered, wanted| judge_versions(address, &offered, wanted).state;
        assert_eq!(state(3..=4, None), State::Ok);
        assert_eq!(state(3..=3, None), State::Warn);
        assert_eq!(state(3..=3, Some(Version::V3)), State::Ok);
        assert_eq!(state(3..=3, Some(Version::V4Minor(2))), State::Fail);
        assert_eq!(state(4..=4, Some(Version::V3)), State::Fail);
    }
}
