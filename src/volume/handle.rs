//! The volume handle: the one text by which an orchestrator names a volume.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{Error, Export, Result};

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

/// A handle that this driver wrote: `<server>:<share>#<key>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VolumeHandle {
    /// Where the volume lies.
    pub export: Export,
    /// Which record there is its own.
    pub key: VolumeKey,
}

impl VolumeHandle {
    /// The handle of a new volume, if it is short enough.
    pub fn new(export: Export, key: VolumeKey) -> Result<Self> {
        let handle = Self { export, key };
        let length = handle.to_string().len();
        if length > LONGEST_HANDLE {
            let reason = format!(
                "{} makes a volume handle of {length} bytes, and CSI allows {LONGEST_HANDLE}: use a shorter name for \
                 the server",
                handle.export
            );
            return Err(Error::invalid("server and share", reason));
        }
        Ok(handle)
    }

    /// Reads a handle, or `None` if it is not one of this driver's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (export, key) = text.rsplit_once('#')?;
        Some(Self { export: Export::parse(export).ok()?, key: VolumeKey::parse(key)? })
    }
}

impl fmt::Display for VolumeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.export, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_handle_reads_back_as_it_was_written() {
        let export = Export::new("10.0.0.5", "/srv/k8s").unwrap();
        let key = VolumeKey::of_name("pvc-6f2d1c9e-0000-4000-8000-000000000000");
        let handle = VolumeHandle::new(export, key).unwrap();
        assert_eq!(handle.to_string(), "10.0.0.5:/srv/k8s#pvc-6f2d1c9e-0000-4000-8000-000000000000");
        assert_eq!(VolumeHandle::parse(&handle.to_string()), Some(handle));
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
        let export = Export::new("nas.example", &format!("/{}", "x".repeat(120))).unwrap();
        let error = VolumeHandle::new(export, VolumeKey::of_name("pvc-1")).unwrap_err();
        assert!(error.to_string().contains("of 139 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_parses_without_panic_and_a_key_is_one_safe_component(text in "\\PC*|[a-z0-9:/#.]{0,40}") {
            if let Some(handle) = VolumeHandle::parse(&text) {
                prop_assert!(super::super::sub_dir::check_component(handle.key.as_str()).is_ok());
                prop_assert!(!handle.key.as_str().starts_with('.'));
            }
            prop_assert!(VolumeKey::parse(VolumeKey::of_name(&text).as_str()).is_some());
        }
    }
}
