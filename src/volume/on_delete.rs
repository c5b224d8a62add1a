//! What happens to the directory of a volume when the volume is deleted.

use std::fmt;

use crate::volume::error::{Error, Result};

/// What happens to the directory of a volume when the volume is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum OnDelete {
    /// The directory and everything in it are removed.
    #[default]
    Delete,
    /// The directory stays where it is.
    Retain,
    /// The directory is renamed to `archived-…`.
    Archive,
}

impl OnDelete {
    const ALL: [Self; 3] = [Self::Delete, Self::Retain, Self::Archive];

    /// Reads the name of a policy, in upper or lower case. Parameters, handles of csi-driver-nfs, records, the
    /// configuration file and the command line are all read with this.
    pub fn parse(text: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|policy| text.eq_ignore_ascii_case(policy.name()));
        let reason = || format!("{text:?} is not one of delete, retain and archive");
        named.ok_or_else(|| Error::invalid("onDelete", reason()))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Retain => "retain",
            Self::Archive => "archive",
        }
    }
}

impl TryFrom<String> for OnDelete {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

/// The name that [`OnDelete::parse`] reads, in lower case.
impl fmt::Display for OnDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_read_as_it_is_written_and_in_any_case() {
        for policy in OnDelete::ALL {
            assert_eq!(OnDelete::parse(&policy.to_string()).unwrap(), policy);
            assert_eq!(OnDelete::parse(&policy.to_string().to_uppercase()).unwrap(), policy);
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(json, format!("\"{policy}\""));
            assert_eq!(serde_json::from_str::<OnDelete>(&json).unwrap(), policy);
        }
        assert!(OnDelete::parse("keep").unwrap_err().to_string().contains("is not one of"));
        assert!(serde_json::from_str::<OnDelete>("\"keep\"").is_err());
    }
}
