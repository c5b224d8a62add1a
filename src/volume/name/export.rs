//! How an export is named: by its name in the configuration, or by server and share.

use std::fmt;
use std::net::Ipv6Addr;

use crate::linux::NfsSource;

use crate::volume::error::{Error, Result};
use crate::volume::name::reach::Reach;

/// The server and the share of an export, checked: the text can be a part of a handle, of a mount call and of a log
/// line, and has no special meaning in any of them.
///
/// The mount options that are needed to reach the server belong to it, because most calls have only a handle to name an export. The text form
/// is `server:/share`, or `port=20490,vers=4.1@server:/share`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Export {
    source: NfsSource,
    reach: Reach,
}

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
        let source = NfsSource { server: bare.to_owned(), share: format!("/{}", components.join("/")) };
        Ok(Self { source, reach: Reach::default() })
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self> {
        // The share can contain an `@`, and the options contain no slash.
        let (reach, text) = match text.split_once('@') {
            Some((reach, rest)) if !reach.contains('/') => (Reach::parse(reach)?, rest),
            _ => (Reach::default(), text),
        };
        match text.find(":/") {
            Some(colon) => Ok(Self::new(&text[..colon], &text[colon + 1..])?.reached_with(reach)),
            None => Err(Error::invalid("export", format!("{text:?} does not have the form server:/share"))),
        }
    }

    /// The same export with these options to reach its server.
    #[must_use]
    pub fn reached_with(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// The options that are needed to reach the server.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The server and the share, for mount(2).
    #[must_use]
    pub fn source(&self) -> &NfsSource {
        &self.source
    }

    /// The host name or the IP address of the server. An IPv6 address has no brackets.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.source.server
    }

    /// The absolute path of the share on the server.
    #[must_use]
    pub fn share(&self) -> &str {
        &self.source.share
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.reach.is_empty() {
            write!(f, "{}@", self.reach)?;
        }
        self.source.fmt(f)
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

impl ExportRef {
    /// The options that are needed to reach its server. Those of a named export are in the configuration.
    #[must_use]
    pub fn reach(&self) -> Reach {
        match self {
            Self::Named(_) => Reach::default(),
            Self::Inline(export) => export.reach().clone(),
        }
    }

    /// The same export, with these options to reach its server if it is not a named export.
    #[must_use]
    pub fn reached_with(&self, reach: Reach) -> Self {
        match self {
            Self::Named(_) => self.clone(),
            Self::Inline(export) => Self::Inline(export.clone().reached_with(reach)),
        }
    }

    /// Whether both name the same directory of the same server.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.place() == other.place() && self.reach().is_same_server(&other.reach())
    }

    /// The same export without the options to reach its server. A volume context and a StorageClass name it in this form.
    #[must_use]
    pub fn place(&self) -> Self {
        self.reached_with(Reach::default())
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
    fn an_export_is_reached_with_the_options_before_it_and_with_no_others() {
        let text = "port=20490,vers=4.1@nas:/srv/a@b";
        let export = Export::parse(text).unwrap();
        assert_eq!((export.to_string().as_str(), export.share()), (text, "/srv/a@b"));
        assert_eq!(export.reach().to_string(), "port=20490,vers=4.1");
        assert_eq!(ExportRef::Inline(export).place().to_string(), "nas:/srv/a@b");
        assert_eq!(Export::parse("nas:/srv/a@b").unwrap().share(), "/srv/a@b");
        for text in [
            "@nas:/srv",
            "vers=4.1,port=20490@nas:/srv",
            "port=2049@nas:/srv",
            "hard@nas:/srv",
            "addr=1.2.3.4@nas:/srv",
            "context=x@nas:/srv",
            "port=1@port=2@nas:/srv",
            "port=1@nas",
        ] {
            assert!(Export::parse(text).is_err(), "{text}");
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
