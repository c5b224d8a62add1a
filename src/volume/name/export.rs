//! Which server, which share: by the name the configuration gives it, or inline.

use std::fmt;

use crate::linux::NfsSource;

use crate::volume::error::{Error, Result};

/// An export that a volume may lie on, checked: its text can be part of a handle, of a mount call and of a log
/// line without meaning anything else there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Export(NfsSource);

impl Export {
    /// Checks a server and a share as a StorageClass or a PersistentVolume names them. A trailing slash of the
    /// share and the brackets of an IPv6 address are not kept.
    pub fn new(server: &str, share: &str) -> Result<Self> {
        let server = server.trim();
        let bare = server.strip_prefix('[').and_then(|s| s.strip_suffix(']')).unwrap_or(server);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if bare.is_empty() || bare.len() > 253 || !bare.chars().all(plain) || bare.starts_with('-') {
            return Err(Error::invalid(
                "server",
                format!("{server:?} is neither a host name nor an address"),
            ));
        }
        let invalid = |reason: &str| Error::invalid("share", format!("{share:?} {reason}"));
        if !share.starts_with('/') {
            return Err(invalid("must be an absolute path on the server, such as /srv/k8s"));
        }
        if share.chars().any(|c| c.is_control() || c == '#') {
            return Err(invalid("holds a control character or a `#`"));
        }
        let components: Vec<&str> = share.split('/').filter(|component| !component.is_empty()).collect();
        if components.iter().any(|component| matches!(*component, "." | "..")) {
            return Err(invalid("holds `.` or `..`"));
        }
        Ok(Self(NfsSource { server: bare.to_owned(), share: format!("/{}", components.join("/")) }))
    }

    /// Reads `server:/share`, the form that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self> {
        match text.find(":/") {
            Some(colon) => Self::new(&text[..colon], &text[colon + 1..]),
            None => Err(Error::invalid("export", format!("{text:?} is not of the form server:/share"))),
        }
    }

    /// What the kernel mounts.
    #[must_use]
    pub fn source(&self) -> &NfsSource {
        &self.0
    }

    /// Host name or address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.0.server
    }

    /// Absolute path on the server.
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

/// How a StorageClass, a PersistentVolume or a handle says which export it means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportRef {
    /// By its name in the configuration, which says where it is today.
    Named(String),
    /// By server and share.
    Inline(Export),
}

impl ExportRef {
    /// Reads what [`fmt::Display`] writes: a name, or `server:/share`.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains(":/") { Export::parse(text).map(Self::Inline) } else { Self::named(text) }
    }

    /// A name as the configuration may give one: lower case letters, digits and dashes, at most 63.
    pub fn named(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=63).contains(&name.len()) && name.chars().all(plain) {
            return Ok(Self::Named(name.to_owned()));
        }
        let reason =
            format!("{name:?} is no name of an export (lower case letters, digits and dashes, at most 63)");
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
        ] {
            let export = Export::new(server, share).unwrap();
            assert_eq!(export.to_string(), text);
            assert_eq!(Export::parse(text).unwrap(), export);
        }
    }

    #[test]
    fn text_that_could_smuggle_something_is_refused() {
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
        ] {
            assert!(Export::new(server, share).is_err(), "{server:?} {share:?}");
        }
    }
}
