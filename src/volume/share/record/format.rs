//! The version of the format of records, so that several versions of the driver can use one share.
//!
//! A later version that adds a field which this version may ignore keeps the number. This version then ignores the field, and keeps it when
//! it changes the record. A later version that adds a field which must not be ignored writes a higher number. Then this version refuses to
//! do anything with the volume, and lists leave it out with a warning.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The format that this version reads and writes. A record that names no format has this one.
const FORMAT: u64 = 1;

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    format: Option<u64>,
}

/// Parses a record of any kind. The error says what is wrong, without the path.
pub(in crate::volume) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    let text = |error: serde_json::Error| error.to_string();
    let header: Header = serde_json::from_slice(json).map_err(text)?;
    match header.format {
        Some(format) if format > FORMAT => Err(format!(
            "it has format {format}, and this version of the driver knows formats up to {FORMAT}: use the version that wrote it"
        )),
        _ => serde_json::from_slice(json).map_err(text),
    }
}
