//! What becomes of a volume's directory when the volume is deleted.

use crate::volume::error::{Error, Result};

/// What becomes of a volume's directory when the volume is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    /// It is removed with everything in it.
    #[default]
    Delete,
    /// It stays where it is.
    Retain,
    /// It is renamed to `archived-…`.
    Archive,
}

impl OnDelete {
    /// Reads the value of the parameter `onDelete`, in any case.
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "delete" => Ok(Self::Delete),
            "retain" => Ok(Self::Retain),
            "archive" => Ok(Self::Archive),
            _ => Err(Error::invalid("onDelete", format!("{text:?} is none of delete, retain and archive"))),
        }
    }
}
