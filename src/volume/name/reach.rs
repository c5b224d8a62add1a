//! The mount options that are needed to reach the server of an export.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::linux::NfsOptions;
use crate::linux::nfs_options;
use crate::volume::error::{Error, Result};

/// Port, transport and version, such as `port=20490,vers=4.1`. It is empty if no option is needed. Because it is a part of handles and
/// records, it contains no other option and no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reach(String);

impl Reach {
    /// Takes from these options the ones that are needed to reach the server.
    #[must_use]
    pub fn of(options: &NfsOptions) -> Self {
        Self(options.reach())
    }

    /// Parses the text of [`Display`](fmt::Display). Any other spelling is refused, so that an export has only one handle.
    pub fn parse(text: &str) -> Result<Self> {
        let (options, _) = nfs_options::parse(&[text])?;
        if text.is_empty() || options.reach() != text {
            return Err(Error::invalid(
                "export",
                format!("{text:?} is not a list of port, transport and version"),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether no option is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The options, separated by commas.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both lead to the same server. The version makes no difference.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.split().0 == other.split().0
    }

    /// Whether a mount that was made with `mounted` has what these options ask for. If they ask for nothing, every mount has it.
    #[must_use]
    pub fn is_met_by(&self, mounted: &Self) -> bool {
        let (version, other) = (self.split().1, mounted.split().1);
        self.is_empty() || self.is_same_server(mounted) && (version.is_none() || version == other)
    }

    /// Splits the text into port and transport, and the version, which is the last option.
    fn split(&self) -> (&str, Option<&str>) {
        match self.0.rfind("vers=").filter(|&at| at == 0 || self.0[..at].ends_with(',')) {
            Some(at) => (self.0[..at].trim_end_matches(','), Some(&self.0[at..])),
            None => (&self.0, None),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Reach {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Reach> for String {
    fn from(reach: Reach) -> Self {
        reach.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_versions_are_of_one_server_and_two_ports_are_not() {
        let of = |text: &str| if text.is_empty() { Reach::default() } else { Reach::parse(text).unwrap() };
        for (one, other, same) in [
            ("", "vers=3", true),
            ("port=1,vers=3", "port=1", true),
            ("port=1", "port=2", false),
            ("", "port=1", false),
            ("proto=rdma", "", false),
        ] {
            assert_eq!(of(one).is_same_server(&of(other)), same, "{one} {other}");
        }
        for (wanted, mounted, met) in [
            ("", "port=1,vers=3", true),
            ("port=1", "port=1,vers=3", true),
            ("port=1,vers=3", "port=1,vers=3", true),
            ("port=1,vers=3", "port=1,vers=4.1", false),
            ("vers=3", "", false),
            ("port=1", "", false),
            ("mountport=1,mountvers=3", "mountport=1,mountvers=3,vers=3", true),
        ] {
            assert_eq!(of(wanted).is_met_by(&of(mounted)), met, "{wanted} {mounted}");
        }
    }
}
