//! How an export is named: by its name in the configuration, or by server and share.

use std::fmt;
use std::net::Ipv6Addr;

use crate::linux::NfsSource;

use crate::volume::error::{Error, Result};

/// The server and the share of an export, checked: the text can be a part of a handle, of a mount call and of a log
/// line, and has no special meaning in any of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Export(NfsSource);

impl Export {
    /// Checks the server and the share that a StorageClass or a PersistentVolume names. Removes a slash at the end of
    /// the share, and the brackets of an IPv6 address.
    pub fn new(server: &str, share: &str) -> Result<Self> {
        let server = server.trim();
        let bare = server.strip_prefix('[').and_then(|s| s.strip_suffix(']')).unwrap_or(server);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if bare.is_empty() || bare.len() > 253 || !bare.chars().all(plain) || bare.starts_with('-') {
            return Err(Error::invalid(
                "server",
                format!("{server:?} is neither a host name nor an IP address"),
            ));
        }
        // An address of IPv6 can be followed by `%` and an interface.
        if bare.contains(':')
            && bare.split('%').next().is_none_or(|address| address.parse::<Ipv6Addr>().is_err())
        {
            let reason = "is no IPv6 address, and a port or a share does not belong here: write the port as the mount option \
                          `port`, and the share as `share`";
            return Err(Error::invalid("server", format!("{server:?} {reason}")));
        }
        let invalid = |reason: &str| Error::invalid("share", format!("{share:?} {reason}"));
        if !share.starts_with('/') {
            return Err(invalid("must be an absolute path on the server, such as /srv/k8s"));
        }
        if share.chars().any(|c| c.is_control() || c == '#') {
            return Err(invalid("contains a control character or a `#`"));
        }
        let components: Vec<&str> = share.split('/').filter(|component| !component.is_empty()).collect();
        if components.iter().any(|component| matches!(*component, "." | "..")) {
            return Err(invalid("contains `.` or `..`"));
        }
        Ok(Self(NfsSource { server: bare.to_owned(), share: format!("/{}", components.join("/")) }))
    }

    /// Reads `server:/share`, the form that is displayed.
    pub fn parse(text: &str) -> Result<Self> {
        match text.find(":/") {
            Some(colon) => Self::new(&text[..colon], &text[colon + 1..]),
            None => Err(Error::invalid("export", format!("{text:?} does not have the form server:/share"))),
        }
    }

    /// The server and the share, for mount(2).
    #[must_use]
    pub fn source(&self) -> &NfsSource {
        &self.0
    }

    /// The host name or the IP address of the server. An IPv6 address has no brackets.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.0.server
    }

    /// The absolute path of the share on the server.
    #[must_use]
    pub fn share(&self) -> &str {
        &self.0.share
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a StorageClass, a PersistentVolume or a handle names its export.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportRef {
    /// By its name in the configuration, which says where the export is at present.
    Named(String),
    /// By its server and share.
    Inline(Export),
}

impl ExportRef {
    /// Reads a name or `server:/share`, the forms that are displayed.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains(":/") { Export::parse(text).map(Self::Inline) } else { Self::named(text) }
    }

    /// Checks a name of the configuration: 1 to 63 lower case letters, digits and dashes.
    pub fn named(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=63).contains(&name.len()) && name.chars().all(plain) {
            return Ok(Self::Named(name.to_owned()));
        }
        let reason = format!(
            "{name:?} is not a name for an export: use at most 63 lower case letters, digits and dashes"
        );
        Err(Error::invalid("export", reason))
    }
}

impl fmt::Display for ExportRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Inline(export) => export.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_reads_back_as_it_was_written() {
        for (server, share, text) in [
            ("nas.example", "/srv/k8s/", "nas.example:/srv/k8s"),
            ("10.0.0.5", "/", "10.0.0.5:/"),
            ("[2001:db8::1]", "//srv//x", "[2001:db8::1]:/srv/x"),
            ("2001:db8::1", "/srv/x", "[2001:db8::1]:/srv/x"),
            ("fe80::1%eth0", "/srv/x", "[fe80::1%eth0]:/srv/x"),
        ] {
            let export = Export::new(server, share).unwrap();
            assert_eq!(export.to_string(), text);
            assert_eq!(Export::parse(text).unwrap(), export);
        }
    }

    #[test]
    fn a_server_or_share_that_would_mean_more_than_itself_is_refused() {
        for (server, share) in [
            ("", "/srv"),
            ("a,addr=1.2.3.4", "/srv"),
            ("a b", "/srv"),
            ("a\n", "/s\nrv"),
            ("-o", "/srv"),
            ("h", "srv"),
            ("h", ""),
            ("h", "/srv/../etc"),
            ("h", "/a#b"),
            ("h/x", "/srv"),
            ("10.0.0.5:2049", "/srv"),
            ("nas:2049", "/srv"),
            ("nas:", "/srv"),
            ("fe80::1::2%eth0", "/srv"),
        ] {
            assert!(Export::new(server, share).is_err(), "{server:?} {share:?}");
        }
    }
}
