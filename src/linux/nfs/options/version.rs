//! Versions of the NFS protocol.

use std::fmt;

/// A version of the NFS protocol, or a set of versions that client and server choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// NFS 3 (RFC 1813).
    V3,
    /// The newest minor version of NFS 4 that both sides have.
    V4,
    /// NFS 4 with this minor version: 0 (RFC 7530), 1 (RFC 8881), 2 (RFC 7862).
    V4Minor(u8),
}

impl Version {
    /// The versions that are tried if the options name none, the best first.
    pub const ALL: [Self; 4] = [Self::V4Minor(2), Self::V4Minor(1), Self::V4Minor(0), Self::V3];

    /// The versions that this value stands for, the best first.
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

    pub(super) fn parse(text: &str) -> Option<Self> {
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
