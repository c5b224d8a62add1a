//! Why an export cannot be mounted, in words that tell an administrator what to check.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use nix::errno::Errno;

use super::options::{NfsOptions, Version};
use super::source::NfsSource;
use crate::linux::error::SysError;

/// Why an export could not be mounted. Every message names the export and says what to check.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The resolver of this host does not know the server's name.
    #[error("mount {export}: cannot resolve the server's name `{}`: {reason}", export.server)]
    Resolve {
        /// The export that could not be mounted.
        export: NfsSource,
        /// The answer of the resolver.
        reason: io::Error,
    },
    /// No NFS server answered at any of the addresses.
    #[error("mount {export}: no NFS server answers at {}: is it running, and is TCP port {} open to this node?",
        tried.join(", "), port)]
    Unreachable {
        /// The export that could not be mounted.
        export: NfsSource,
        /// The port that was tried.
        port: u16,
        /// Each address with the reason why it failed.
        tried: Vec<String>,
    },
    /// The server answers, but does not offer the version in the mount options.
    #[error("mount {export}: the server offers NFS {} to {}, the options ask for {wanted}", offered.start(), offered.end())]
    Version {
        /// The export that could not be mounted.
        export: NfsSource,
        /// The lowest and the highest major version that the server offers.
        offered: RangeInclusive<u32>,
        /// The version in the mount options.
        wanted: String,
    },
    /// mount(2) failed.
    #[error("mount {export} (NFS {version}): {reason}{}", hint(reason, *version, options))]
    Refused {
        /// The export that could not be mounted.
        export: NfsSource,
        /// The version of the failed attempt.
        version: Version,
        /// The options that the kernel was given, besides version and addresses.
        options: NfsOptions,
        /// The error of mount(2).
        reason: io::Error,
    },
    /// A program that a mount with NFS 3 needs does not answer.
    #[error("mount {export} (NFS 3): {program} at {address} does not answer ({reason}): does it run on the server, and is TCP port {} \
        open to this node? NFS 4 needs neither rpcbind nor mountd", address.port())]
    Helper {
        /// The export that could not be mounted.
        export: NfsSource,
        /// `rpcbind` or `mountd`.
        program: &'static str,
        /// Where it was asked.
        address: SocketAddr,
        /// Why it has not answered.
        reason: io::Error,
    },
    /// mount(2) has not ended in time. It goes on.
    #[error("mount {export} (NFS {version}): mount(2) has not ended within {} s, although the server at {address} has answered the first \
        question: is the server overloaded, or does a firewall drop a part of its packets?", limit.as_secs())]
    Silent {
        /// The export that could not be mounted.
        export: NfsSource,
        /// The version of the attempt.
        version: Version,
        /// The address of the server.
        address: SocketAddr,
        /// How long it was given.
        limit: Duration,
    },
    /// None of several sources could be mounted.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; and "))]
    NoneOf(Vec<MountError>),
    /// A system call on this host failed.
    #[error(transparent)]
    Local(#[from] SysError),
}

impl MountError {
    /// Whether mount(2) still works on the mount point.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }

    /// Whether no server answered, or none was found by its name.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Unreachable { .. } | Self::Helper { .. } | Self::Silent { .. } => {
                true
            }
            Self::Refused { reason, .. } => reason.kind() == io::ErrorKind::TimedOut,
            Self::NoneOf(errors) => errors.iter().all(Self::is_unreachable),
            Self::Version { .. } | Self::Local(_) => false,
        }
    }
}

/// Every cause that fits the error of mount(2), the version and the options.
fn hint(reason: &io::Error, version: Version, options: &NfsOptions) -> String {
    let given = options.described();
    let causes = match (reason.raw_os_error().map(Errno::from_raw), version) {
        (Some(Errno::EACCES | Errno::EPERM), _) => denied(options),
        (Some(Errno::ENOENT), Version::V3) => vec!["the server has no such share".to_owned()],
        (Some(Errno::ENOENT), _) => vec![
            "the server has no such share (with NFS 4 the path begins at the server's pseudo root, such as an export \
             with fsid=0)"
                .to_owned(),
        ],
        (Some(Errno::EINVAL | Errno::EBUSY), _) => invalid(options, &given),
        (Some(Errno::ENODEV), _) => {
            vec!["this node's kernel has no NFS client: load the module nfs (and nfsv3 or nfsv4)".to_owned()]
        }
        (Some(Errno::EPROTONOSUPPORT), _) => {
            vec!["the server does not offer this version, or not over this transport".to_owned()]
        }
        (Some(Errno::ESTALE), _) => {
            vec!["the server exports another file system there than before, or none: run exportfs on the server".to_owned()]
        }
        (_, Version::V3) => vec![
            "NFS 3 also needs rpcbind and mountd on the server, and for locks rpcbind and rpc.statd on this node (or the \
             mount option nolock)"
                .to_owned(),
        ],
        _ => Vec::new(),
    };
    let options = if given.is_empty() { String::new() } else { format!(" (mount options: {given})") };
    if causes.is_empty() { options } else { format!(": {}{options}", causes.join("; or ")) }
}

/// Why a server denies a mount.
fn denied(options: &NfsOptions) -> Vec<String> {
    let mut causes = vec![
        "the server denies access: does it export this share, and is this node's address in its export list?"
            .to_owned(),
    ];
    match options.get("sec") {
        None => causes.push("the export requires Kerberos, and the option sec=krb5 is missing".to_owned()),
        Some(sec) if sec.contains("krb5") => {
            causes.push(
                "this node has no Kerberos credential for the server (rpc.gssd, /etc/krb5.keytab)".to_owned(),
            );
        }
        Some(sec) => causes.push(format!("the export does not allow sec={sec}")),
    }
    if options.contains("noresvport") {
        causes.push(
            "the export has the option `secure`, which excludes the ports that noresvport uses: remove noresvport, or \
             export with `insecure`"
                .to_owned(),
        );
    }
    causes
}

/// Why the kernel refuses a mount before it asks the server.
fn invalid(options: &NfsOptions, given: &str) -> Vec<String> {
    let mut causes = Vec::new();
    if ["context", "fscontext", "defcontext", "rootcontext"].iter().any(|name| options.contains(name)) {
        causes.push(
            "SELinux is off on this node, does not have this context, or the export is mounted with another one already"
                .to_owned(),
        );
    }
    if options.get("sec").is_some_and(|sec| sec.contains("krb5")) {
        causes.push("Kerberos is not set up on this node (rpc.gssd, the module rpcsec_gss_krb5)".to_owned());
    }
    causes.push(if given.is_empty() {
        "this node's kernel does not support such a mount, or its policy forbids it; its log says more (dmesg)".to_owned()
    } else {
        "the kernel refuses one of these mount options; its log names it (dmesg)".to_owned()
    });
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::nfs::options;

    fn message(errno: Errno, version: Version, list: &str) -> String {
        let export = NfsSource { server: "10.0.0.5".to_owned(), share: "/srv/k8s".to_owned() };
        let reason = io::Error::from_raw_os_error(errno as i32);
        let options = options::parse(&[list]).unwrap().0;
        MountError::Refused { export, version, options, reason }.to_string()
    }

    #[test]
    fn the_message_names_every_cause_that_fits_and_no_other() {
        let v42 = Version::V4Minor(2);
        for (errno, version, list, words, not) in [
            (
                Errno::EACCES,
                v42,
                "",
                vec!["(NFS 4.2): Permission denied", "export list?", "sec=krb5 is missing"],
                "noresvport",
            ),
            (Errno::EACCES, v42, "noresvport", vec!["export with `insecure`"], "Kerberos credential"),
            (Errno::EPERM, v42, "sec=krb5p", vec!["rpc.gssd", "mount options: sec=krb5p"], "is missing"),
            (Errno::EACCES, Version::V3, "sec=sys", vec!["does not allow sec=sys"], "Kerberos"),
            (
                Errno::EINVAL,
                v42,
                "xprtsec=tls,timeo=600",
                vec!["refuses one of these", "timeo,xprtsec"],
                "SELinux",
            ),
            (Errno::EINVAL, v42, "context=a:b", vec!["SELinux is off", "(mount options: context)"], "a:b"),
            (Errno::EINVAL, v42, "sec=krb5", vec!["rpcsec_gss_krb5"], "SELinux"),
            (Errno::EINVAL, v42, "", vec!["does not support such a mount"], "options"),
            (Errno::EPROTONOSUPPORT, v42, "", vec!["does not offer this version"], "options"),
            (Errno::ENOENT, v42, "", vec!["pseudo root"], "rpcbind"),
            (Errno::ETIMEDOUT, Version::V3, "hard", vec!["rpcbind and mountd"], "Kerberos"),
        ] {
            let text = message(errno, version, list);
            assert!(words.iter().all(|word| text.contains(word)) && !text.contains(not), "{list}: {text}");
            assert!(text.len() < 700, "{text}");
        }
    }
}
