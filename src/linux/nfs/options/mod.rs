//! Mount options: which of them go to the NFS client, and which to each bind mount.
//!
//! The options of nfs(5) belong to the mount of the export, and mounts with different options are different mounts. The
//! flags of mount(8) that a bind mount can have for itself are separated here, so that a read-only and a writable volume
//! share one mount of their export. Every option is checked here, before the kernel is asked, so that a refusal names it.

mod bind_flags;
mod error;
mod families;
mod known;
mod reach;
mod split;
mod version;

use std::fmt;

pub use bind_flags::BindFlags;
pub use error::OptionError;
pub use version::Version;

use families::Families;

/// Options for the NFS client. Two lists with the same effect are equal.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NfsOptions {
    /// The NFS version. `None` stands for the newest one that client and server have.
    pub version: Option<Version>,
    rest: Families,
}

/// Shows the names only, because a value can come from a Secret.
impl fmt::Debug for NfsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vers={:?} {}", self.version.map(|v| v.to_string()), self.names())
    }
}

impl NfsOptions {
    /// The port of the NFS service: 2049, or 20049 for RDMA (RFC 5666), unless the options name another one.
    #[must_use]
    pub fn port(&self) -> u16 {
        let default = if self.is_rdma() { 20049 } else { 2049 };
        let given = self.rest.get("port").and_then(|port| port.parse().ok());
        given.filter(|&port| port != 0).unwrap_or(default)
    }

    /// The value of an option, if it is given and has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.rest.get(name)
    }

    /// Whether an option is given.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.rest.contains(name)
    }

    /// The names of the options, separated by commas, without values.
    #[must_use]
    pub fn names(&self) -> String {
        self.rest.names().collect::<Vec<_>>().join(",")
    }

    /// The options for a person to read: with the values of `sec`, `proto` and `port`, and the names of all others.
    #[must_use]
    pub fn described(&self) -> String {
        let with_value = |name: &str| match self.get(name) {
            Some(value) if ["sec", "proto", "port"].contains(&name) => format!("{name}={value}"),
            _ => name.to_owned(),
        };
        self.rest.names().map(with_value).collect::<Vec<_>>().join(",")
    }

    /// Whether the transport is RDMA. Then nothing has to listen for TCP connections.
    #[must_use]
    pub fn is_rdma(&self) -> bool {
        self.rest.proto().is_some_and(|proto| proto.starts_with("rdma"))
    }

    /// Whether an address of the server can be used: `proto=tcp` stands for IPv4, and `proto=tcp6` for IPv6 (nfs(5)).
    #[must_use]
    pub fn allows(&self, address: std::net::IpAddr) -> bool {
        match self.rest.get("proto") {
            Some(proto) => proto.ends_with('6') == address.is_ipv6(),
            None => true,
        }
    }

    /// The options in the form of mount(2), without the version and the addresses.
    #[must_use]
    pub fn to_mount_data(&self) -> String {
        self.rest.to_mount_data()
    }
}

/// Options that tell mount(8) or mount.nfs(8) how to run. They say nothing about the mount.
const FOR_THE_PROGRAM: [&str; 18] = [
    "defaults",
    "auto",
    "noauto",
    "nouser",
    "nousers",
    "noowner",
    "nogroup",
    "_netdev",
    "nofail",
    "comment",
    "helper",
    "uhelper",
    "pamconsole",
    "bg",
    "fg",
    "retry",
    "sloppy",
    "nosloppy",
];

/// Options of mount(8) that have no effect on NFS, most of them because the server keeps the times.
const WITHOUT_EFFECT: [&str; 18] = [
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
    "quiet",
    "symfollow",
];

/// Options that would lead the client to another server than the one that the volume names.
const ADDRESSES: [&str; 4] = ["addr", "mountaddr", "mounthost", "source"];

/// Options with which mount(8) changes an existing mount, or mounts something else.
const OPERATIONS: [&str; 17] = [
    "remount",
    "bind",
    "rbind",
    "move",
    "shared",
    "rshared",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
    "loop",
    "offset",
    "sizelimit",
    "encryption",
    "nosymfollow",
];

/// Separates mount options into options of the export's mount and flags of the bind mount. Each item can contain several
/// options, separated by commas. Of options that replace one another, the last one counts, as with mount(8).
pub fn parse<S: AsRef<str>>(items: &[S]) -> Result<(NfsOptions, BindFlags), OptionError> {
    let mut options = NfsOptions::default();
    let mut bind = BindFlags::default();
    let mut minor = None;
    for item in items {
        for option in split::split(item.as_ref())? {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(value)),
                None => (option, None),
            };
            let known = |names: &[&str]| names.contains(&name);
            if let Some(version) = version_of(name, value, &mut minor) {
                options.version = Some(version.ok_or_else(|| OptionError::Version(option.to_owned()))?);
            } else if known(&ADDRESSES) {
                return Err(OptionError::Address(name.to_owned()));
            } else if known(&OPERATIONS) {
                return Err(OptionError::Operation(name.to_owned()));
            } else if !bind.apply(name)
                && !known(&FOR_THE_PROGRAM)
                && !known(&WITHOUT_EFFECT)
                && !is_private(name)
            {
                let base = known::check(name, value)?;
                options.rest.apply(base, name, value);
            }
        }
    }
    refuse_udp(&options)?;
    if options.rest.is_impossible() {
        let reason = "the kernel sets softreval together with softerr";
        return Err(OptionError::Together("softerr".to_owned(), "nosoftreval".to_owned(), reason));
    }
    Ok((options, bind))
}

/// Options for other programs, which mount(8) ignores.
fn is_private(name: &str) -> bool {
    name.starts_with("x-") || name.starts_with("X-")
}

/// The version that an option names: `None` if the option does not name one, `Some(None)` if the version does not exist.
/// `minorversion=1` belongs to `vers=4`, in any order (nfs(5)), so `minor` keeps it.
#[expect(clippy::option_option, reason = "three answers")]
fn version_of(name: &str, value: Option<&str>, minor: &mut Option<Version>) -> Option<Option<Version>> {
    let version = match name {
        "vers" | "nfsvers" => value.and_then(Version::parse),
        "minorversion" => {
            *minor = value.and_then(|minor| Version::parse(&format!("4.{minor}")));
            return Some(*minor);
        }
        "v2" | "v3" | "v4" | "v4.0" | "v4.1" | "v4.2" if value.is_none() => Version::parse(&name[1..]),
        _ => return None,
    };
    Some(version.map(|version| minor.filter(|_| version == Version::V4).unwrap_or(version)))
}

/// NFS 4 needs a transport with congestion control (RFC 8881 section 2.9.1), and the kernel refuses UDP for it.
fn refuse_udp(options: &NfsOptions) -> Result<(), OptionError> {
    match options.rest.proto() {
        Some(proto) if proto.starts_with("udp") && options.version != Some(Version::V3) => {
            let version =
                options.version.map_or("no nfsvers".to_owned(), |version| format!("nfsvers={version}"));
            Err(OptionError::Together(
                proto.to_owned(),
                version,
                "NFS 4 works over TCP only; for UDP add nfsvers=3",
            ))
        }
        _ => Ok(()),
    }
}

/// The options that contradict each other within one list: each pair is the option that does not count, and the one that
/// replaces it. A list that one person has written contains such a pair only by mistake.
pub fn contradictions<S: AsRef<str>>(items: &[S]) -> Result<Vec<(String, String)>, OptionError> {
    let mut all = Vec::new();
    for item in items {
        all.extend(split::split(item.as_ref())?);
    }
    let mut found = Vec::new();
    for (index, later) in all.iter().enumerate() {
        let earlier = all[..index].iter().rev().find(|earlier| {
            let of = |list: &[&str]| parse(list).ok();
            // The later one replaces the earlier one if that one makes no difference before it, although it does after it.
            *earlier != later
                && of(&[earlier, later]) == of(&[later])
                && of(&[later, earlier]) != of(&[later])
        });
        found.extend(earlier.map(|earlier| ((*earlier).to_owned(), (*later).to_owned())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
