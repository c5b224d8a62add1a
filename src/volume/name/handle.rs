//! The volume handle: the text by which an orchestrator names a volume.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::volume::error::{Error, Result};
use crate::volume::name::csi_driver_nfs::CsiDriverNfsHandle;
use crate::volume::name::export::ExportRef;

/// The length of the longest handle, in bytes (CSI specification, "Size Limits").
pub const LONGEST_HANDLE: usize = 128;
/// The length of the longest volume name that is its own key, in bytes.
const LONGEST_PLAIN_KEY: usize = 64;

/// The name of a volume in a form that can be a file name and a part of a handle: at most 64 lower and upper case
/// letters, digits, `-`, `_` and `.`, and the first of them is not a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeKey(String);

impl VolumeKey {
    /// The key of the volume with this name, which can be any text (`CreateVolumeRequest.name`). A name that has the
    /// form of a key is its own key. The key of any other name is made of the plain characters at the beginning of
    /// the name and a hash of the whole name. The record of a volume contains its name, so two names with the same
    /// key are noticed.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self::parse(name).unwrap_or_else(|| {
            let beginning: String = name.chars().filter(|c| is_key_char(*c) && *c != '.').take(30).collect();
            let hash = Sha256::digest(name.as_bytes());
            let number = hash.iter().take(12).fold(0u128, |number, &byte| number << 8 | u128::from(byte));
            Self(format!("{beginning}_{number:024x}"))
        })
    }

    /// Returns `text` as a key, or `None` if it does not have that form.
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

/// A volume handle, read by the only parser that the driver has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeHandle {
    /// The export that contains the volume.
    pub export: ExportRef,
    /// The key of the volume's record on the export.
    pub key: VolumeKey,
    /// The content of the handle, if csi-driver-nfs has written it. Such a volume may have no record.
    pub csi_driver_nfs: Option<CsiDriverNfsHandle>,
    text: String,
}

impl VolumeHandle {
    /// The handle of a new volume: `<export>#<key>`. Fails if that is too long for CSI.
    pub fn new(export: ExportRef, key: VolumeKey) -> Result<Self> {
        let text = format!("{export}#{key}");
        let length = text.len();
        if length > LONGEST_HANDLE {
            let reason = format!(
                "with {export} the volume handle would have {length} bytes, and CSI allows {LONGEST_HANDLE}: give the \
                 export a name in the driver's configuration"
            );
            return Err(Error::invalid("server and share", reason));
        }
        Ok(Self { export, key, csi_driver_nfs: None, text })
    }

    /// Reads a handle of this driver or of csi-driver-nfs. Returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((export, key)) = text.split_once('#')
            && let (Ok(export), Some(key)) = (ExportRef::parse(export), VolumeKey::parse(key))
        {
            return Some(Self { export, key, csi_driver_nfs: None, text: text.to_owned() });
        }
        let written = CsiDriverNfsHandle::parse(text)?;
        let export = ExportRef::Inline(written.export.clone());
        let key = VolumeKey::of_name(text);
        Some(Self { export, key, csi_driver_nfs: Some(written), text: text.to_owned() })
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
    fn a_name_that_cannot_be_a_file_name_gets_a_key_that_can() {
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
        assert!(error.contains("have 136 bytes"), "{error}");
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
                if let Some(written) = handle.csi_driver_nfs {
                    let again = crate::volume::name::sub_dir::SubDir::parse(written.sub_dir.as_str());
                    prop_assert_eq!(again, Ok(written.sub_dir));
                }
            }
            prop_assert!(VolumeKey::parse(VolumeKey::of_name(&text).as_str()).is_some());
        }
    }
}
