//! Mount options: which go to the NFS client, which to each bind.
//!
//! The options of nfs(5) decide how the kernel talks to the server and belong to the export mount; mounts that
//! differ in them are different mounts. The options of mount(8) that a bind can carry by itself are taken out
//! here, so that a read-only and a writable volume of one export share one mount.

use std::collections::BTreeMap;
use std::fmt;

/// What a bind carries by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "these are the kernel's own flags, and independent")]
pub struct BindFlags {
    /// `ro`
    pub read_only: bool,
    /// `nosuid`: setuid and setgid bits have no effect.
    pub nosuid: bool,
    /// `nodev`: device nodes cannot be opened.
    pub nodev: bool,
    /// `noexec`: nothing can be executed.
    pub noexec: bool,
}

impl BindFlags {
    /// The flags by their names in the mount table.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 4] {
        [("ro", self.read_only), ("nosuid", self.nosuid), ("nodev", self.nodev), ("noexec", self.noexec)]
    }
}

/// An NFS protocol version, or a family of them to be negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// NFS 3 (RFC 1813).
    V3,
    /// NFS 4, the newest minor version that both sides speak.
    V4,
    /// NFS 4 with this minor version: 0 (RFC 7530), 1 (RFC 8881), 2 (RFC 7862).
    V4Minor(u8),
}

impl Version {
    /// The versions to try, best first, when the administrator names none.
    pub const ALL: [Self; 4] = [Self::V4Minor(2), Self::V4Minor(1), Self::V4Minor(0), Self::V3];

    /// The versions this one stands for, best first.
    #[must_use]
    pub fn candidates(self) -> &'static [Self] {
        match self {
            Self::V3 => &[Self::V3],
            Self::V4 => &Self::ALL[..3],
            Self::V4Minor(2) => &Self::ALL[..1],
            Self::V4Minor(1) => &Self::ALL[1..2],
            Self::V4Minor(_) => &Self::ALL[2..3],
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "3" => Some(Self::V3),
            "4" => Some(Self::V4),
            "4.0" => Some(Self::V4Minor(0)),
            "4.1" => Some(Self::V4Minor(1)),
            "4.2" => Some(Self::V4Minor(2)),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V3 => f.write_str("3"),
            Self::V4 => f.write_str("4"),
            Self::V4Minor(minor) => write!(f, "4.{minor}"),
        }
    }
}

/// Options for the NFS client, in a form in which equal options are equal values.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NfsOptions {
    /// `None`: negotiate.
    pub version: Option<Version>,
    /// Option name to its value, if it has one.
    rest: BTreeMap<String, Option<String>>,
}

/// Names only: a value may come from a Secret.
impl fmt::Debug for NfsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rest.keys().map(String::as_str).collect::<Vec<_>>().join(",");
        write!(f, "vers={:?} {names}", self.version.map(|v| v.to_string()))
    }
}

impl NfsOptions {
    /// The port of the NFS service, 2049 unless the options say otherwise.
    #[must_use]
    pub fn port(&self) -> u16 {
        let given = self.rest.get("port").and_then(Option::as_deref).and_then(|port| port.parse().ok());
        given.filter(|&port| port != 0).unwrap_or(2049)
    }

    /// The value of an option that has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.rest.get(name).and_then(Option::as_deref)
    }

    /// Whether an option stands in the list, with a value or without.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.rest.contains_key(name)
    }

    /// The options as mount(2) takes them, without version and addresses.
    #[must_use]
    pub fn to_mount_data(&self) -> String {
        let one = |(name, value): (&String, &Option<String>)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        self.rest.iter().map(one).collect::<Vec<_>>().join(",")
    }
}

/// An option that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Whoever writes options does not choose the server.
    #[error("mount option `{0}` is not allowed: the driver sets the server's address itself")]
    Address(String),
    /// Not a version of NFS that Linux and this driver speak.
    #[error("mount option `{0}`: the NFS version must be 3, 4, 4.0, 4.1 or 4.2")]
    Version(String),
    /// A byte that could end the option and begin another, or confuse a log.
    #[error("a mount option holds a control character")]
    ControlCharacter,
}

/// Options of mount(8) or mount.nfs(8) that say how to run the program, not how to mount.
const FOR_THE_PROGRAM: [&str; 11] =
    ["defaults", "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail", "bg", "fg", "retry"];

/// Options of mount(8) that have no effect on NFS: the server keeps the times. mount(2) takes them as flags, and mount.nfs
/// passes them so; among the client's own options the kernel would refuse them.
const WITHOUT_EFFECT: [&str; 12] = [
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
    "group",
    "owner",
];

/// Options that would lead the client to another server than the one the volume names.
const ADDRESSES: [&str; 3] = ["addr", "mountaddr", "mounthost"];

/// Sorts mount flags into options of the export mount and flags of the bind. Each item may hold several
/// options with commas between; of contradicting ones the last counts, as with mount(8).
pub fn parse<S: AsRef<str>>(flags: &[S]) -> Result<(NfsOptions, BindFlags), OptionError> {
    let mut options = NfsOptions::default();
    let mut bind = BindFlags::default();
    for option in flags.iter().flat_map(|item| item.as_ref().split(',')).map(str::trim) {
        if option.chars().any(char::is_control) {
            return Err(OptionError::ControlCharacter);
        }
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        match name {
            "" | "rw" if name.is_empty() => {}
            "ro" | "rw" => bind.read_only = name == "ro",
            "nosuid" | "suid" => bind.nosuid = name == "nosuid",
            "nodev" | "dev" => bind.nodev = name == "nodev",
            "noexec" | "exec" => bind.noexec = name == "noexec",
            "vers" | "nfsvers" => {
                let version = value.and_then(Version::parse);
                options.version = Some(version.ok_or_else(|| OptionError::Version(option.to_owned()))?);
            }
            "minorversion" => {
                let version = value.and_then(|minor| Version::parse(&format!("4.{minor}")));
                options.version = Some(version.ok_or_else(|| OptionError::Version(option.to_owned()))?);
            }
            "v3" | "v4" | "v4.0" | "v4.1" | "v4.2" => options.version = Version::parse(&name[1..]),
            _ if ADDRESSES.contains(&name) => return Err(OptionError::Address(name.to_owned())),
            _ if FOR_THE_PROGRAM.contains(&name) || name.starts_with("x-") => {}
            _ if WITHOUT_EFFECT.contains(&name) => {}
            _ => {
                options.rest.insert(name.to_owned(), value.map(str::to_owned));
            }
        }
    }
    Ok((options, bind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_options_in_another_order_are_equal() {
        let one = parse(&["hard,timeo=600", "nfsvers=4.1"]).unwrap();
        let two = parse(&["vers=4.1", "timeo=600", "hard", "_netdev", ""]).unwrap();
        assert_eq!(one, two);
        assert_eq!(one.0.to_mount_data(), "hard,timeo=600");
    }

    #[test]
    fn options_that_do_nothing_on_nfs_are_not_the_clients() {
        let (options, bind) =
            parse(&["noatime,nodiratime", "relatime", "bg,retry=5,nofail", "x-systemd.automount"]).unwrap();
        assert_eq!((options, bind), Default::default());
    }

    #[test]
    fn flags_of_the_bind_do_not_make_another_export_mount() {
        let (options, bind) = parse(&["ro", "nosuid,nodev", "noexec", "exec"]).unwrap();
        assert_eq!(options, NfsOptions::default());
        assert_eq!(bind, BindFlags { read_only: true, nosuid: true, nodev: true, noexec: false });
    }

    #[test]
    fn versions_are_understood_in_every_spelling() {
        for (text, version) in [
            ("vers=3", Version::V3),
            ("nfsvers=4", Version::V4),
            ("v4.2", Version::V4Minor(2)),
            ("minorversion=1", Version::V4Minor(1)),
            ("vers=4.0", Version::V4Minor(0)),
        ] {
            assert_eq!(parse(&[text]).unwrap().0.version, Some(version), "{text}");
        }
        for text in ["vers=2", "vers=", "nfsvers=5", "minorversion=9", "vers"] {
            assert_eq!(parse(&[text]), Err(OptionError::Version(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn an_option_that_chooses_the_server_is_refused() {
        for text in ["addr=10.9.9.9", "hard,addr=10.9.9.9", "mountaddr=1.2.3.4", "mounthost=evil"] {
            assert!(matches!(parse(&[text]), Err(OptionError::Address(_))), "{text}");
        }
        assert_eq!(parse(&["hard\nsoft"]), Err(OptionError::ControlCharacter));
    }

    #[test]
    fn values_are_not_in_debug_output() {
        let (options, _) = parse(&["sec=krb5", "token=secret"]).unwrap();
        let printed = format!("{options:?}");
        assert!(printed.contains("token") && !printed.contains("secret"), "{printed}");
    }
}
