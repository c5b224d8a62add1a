//! The volume handle: the one text by which an orchestrator names a volume.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::volume::error::{Error, Result};
use crate::volume::name::csi_driver_nfs::CsiDriverNfsHandle;
use crate::volume::name::export::ExportRef;

/// Longest handle, in bytes (CSI specification, "Size Limits").
pub const LONGEST_HANDLE: usize = 128;
/// Longest key that is a volume's name unchanged.
const LONGEST_PLAIN_KEY: usize = 64;

/// A volume's name in the form that serves as a file name and within a handle: lower and upper case letters,
/// digits, `-`, `_` and `.`, at most 64 bytes, not beginning with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeKey(String);

impl VolumeKey {
    /// The key of a volume with this name (`CreateVolumeRequest.name`: any text). A name of that form is its own
    /// key. Any other keeps what it can of its beginning and gets a hash of the whole; that two names share a
    /// key is noticed by comparing with the name in the record.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self::parse(name).unwrap_or_else(|| {
            let beginning: String = name.chars().filter(|c| is_key_char(*c) && *c != '.').take(30).collect();
            let hash = Sha256::digest(name.as_bytes());
            let number = hash.iter().take(12).fold(0u128, |number, &byte| number << 8 | u128::from(byte));
            Self(format!("{beginning}_{number:024x}"))
        })
    }

    /// Takes `text` if it has the form of a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= LONGEST_PLAIN_KEY && !text.starts_with('.');
        (fits && text.chars().all(is_key_char)).then(|| Self(text.to_owned()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

impl fmt::Display for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a handle names. There is one parser for all handles, this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeHandle {
    /// Where the volume lies.
    pub export: ExportRef,
    /// Which record there is its own.
    pub key: VolumeKey,
    /// What the handle itself says, if csi-driver-nfs wrote it. It may have no record.
    pub foreign: Option<CsiDriverNfsHandle>,
    text: String,
}

impl VolumeHandle {
    /// The handle of a new volume, `<export>#<key>`, if it is short enough.
    pub fn new(export: ExportRef, key: VolumeKey) -> Result<Self> {
        let text = format!("{export}#{key}");
        let length = text.len();
        if length > LONGEST_HANDLE {
            let reason = format!(
                "{export} makes a volume handle of {length} bytes, and CSI allows {LONGEST_HANDLE}: give the export a \
                 name in the driver's configuration"
            );
            return Err(Error::invalid("server and share", reason));
        }
        Ok(Self { export, key, foreign: None, text })
    }

    /// Reads a handle in any of the forms known, or `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((export, key)) = text.split_once('#')
            && let (Ok(export), Some(key)) = (ExportRef::parse(export), VolumeKey::parse(key))
        {
            return Some(Self { export, key, foreign: None, text: text.to_owned() });
        }
        let foreign = CsiDriverNfsHandle::parse(text)?;
        let export = ExportRef::Inline(foreign.export.clone());
        Some(Self { export, key: VolumeKey::of_name(text), foreign: Some(foreign), text: text.to_owned() })
    }
}

impl fmt::Display for VolumeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::export::Export;
    use crate::volume::name::sub_dir::check_component;
    use proptest::prelude::*;

    fn inline(share: &str) -> ExportRef {
        ExportRef::Inline(Export::new("10.0.0.5", share).unwrap())
    }

    #[test]
    fn a_handle_reads_back_as_it_was_written() {
        let name = "pvc-6f2d1c9e-0000-4000-8000-000000000000";
        for (export, text) in [
            (inline("/srv/k8s"), format!("10.0.0.5:/srv/k8s#{name}")),
            (ExportRef::named("fast").unwrap(), format!("fast#{name}")),
        ] {
            let handle = VolumeHandle::new(export, VolumeKey::of_name(name)).unwrap();
            assert_eq!(handle.to_string(), text);
            assert_eq!(VolumeHandle::parse(&text), Some(handle));
        }
    }

    #[test]
    fn a_name_that_is_no_file_name_gets_a_key_that_is() {
        for name in ["..", ".hidden", "a/b", "a#b", &"x".repeat(128), "", "naïve name\n"] {
            let key = VolumeKey::of_name(name);
            assert_eq!(VolumeKey::parse(key.as_str()), Some(key.clone()), "{name:?}");
            assert_ne!(key.as_str(), name);
        }
        assert_ne!(VolumeKey::of_name("a/b"), VolumeKey::of_name("a#b"));
    }

    #[test]
    fn a_handle_too_long_for_csi_is_refused_with_its_length() {
        let error = VolumeHandle::new(inline(&format!("/{}", "x".repeat(120))), VolumeKey::of_name("pvc-1"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("of 136 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_parses_without_panic_and_what_it_names_is_strictly_inside(
            text in "\\PC*|[a-z0-9:/#.]{0,40}|([a-z.]{0,3}[#/]){0,6}[a-z.]{0,3}",
        ) {
            if let Some(handle) = VolumeHandle::parse(&text) {
                prop_assert!(check_component(handle.key.as_str()).is_ok());
                prop_assert!(!handle.key.as_str().starts_with('.'));
                prop_assert_eq!(handle.to_string(), text.clone());
                if let Some(foreign) = handle.foreign {
                    let again = crate::volume::name::sub_dir::SubDir::parse(foreign.sub_dir.as_str());
                    prop_assert_eq!(again, Ok(foreign.sub_dir));
                }
            }
            prop_assert!(VolumeKey::parse(VolumeKey::of_name(&text).as_str()).is_some());
        }
    }
}
