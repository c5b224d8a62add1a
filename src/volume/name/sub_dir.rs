//! The path of a volume's directory, relative to the share.

use std::fmt;
use std::path::Path;

use crate::volume::error::Error;

/// The name of the driver's own directory at the top of a share. No volume can be in it.
pub const STATE_DIR: &str = ".nfs-subdir-csi";

/// The length of the longest name of one directory entry, in bytes (`NAME_MAX`).
pub(super) const LONGEST_COMPONENT: usize = 255;
/// The length of the longest path that is accepted, in bytes. It is less than `PATH_MAX`, so that a prefix fits.
const LONGEST_PATH: usize = 3072;

/// A relative path with at least one component. It is not absolute, contains neither `.` nor `..`, and no control
/// characters. Joined to a directory, it names something inside that directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubDir(String);

/// Why a path cannot be the directory of a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sub-directory {path:?}: {reason}")]
pub struct SubDirError {
    path: String,
    reason: &'static str,
}

impl From<SubDirError> for Error {
    fn from(error: SubDirError) -> Self {
        Self::invalid(format!("sub-directory {:?}", error.path), error.reason)
    }
}

impl SubDir {
    /// Checks `path` and keeps it unchanged.
    pub fn parse(path: &str) -> Result<Self, SubDirError> {
        let error = |reason| SubDirError { path: path.chars().take(300).collect(), reason };
        if path.len() > LONGEST_PATH {
            return Err(error("it is too long"));
        }
        for component in path.split('/') {
            check_component(component).map_err(error)?;
        }
        if path.split('/').next() == Some(STATE_DIR) {
            return Err(error("it is in the driver's own directory"));
        }
        Ok(Self(path.to_owned()))
    }

    /// The path as text, without a slash at either end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the parent directory, `None` if that is the share itself, and the last component.
    #[must_use]
    pub fn split(&self) -> (Option<&str>, &str) {
        match self.0.rsplit_once('/') {
            Some((parent, name)) => (Some(parent), name),
            None => (None, &self.0),
        }
    }

    /// The path of the archived volume: the first component gets the prefix `archived-`. A name that would then be too
    /// long loses its end, so that every volume that can be created can be archived.
    #[must_use]
    pub fn archived(&self) -> Self {
        let (first, rest) = self.0.split_at(self.0.find('/').unwrap_or(self.0.len()));
        Self(format!("{}{rest}", cut(&format!("archived-{first}"), LONGEST_COMPONENT)))
    }

    /// The same path with `suffix`, a few plain characters, at the end of its last component, which loses what has no
    /// room beside it.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        let (above, last) = self.0.split_at(self.0.rfind('/').map_or(0, |slash| slash + 1));
        Self(format!("{above}{}{suffix}", cut(last, LONGEST_COMPONENT - suffix.len())))
    }
}

/// The longest beginning of at most `length` bytes.
pub(super) fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

/// Whether `component` may be the name of one directory.
pub fn check_component(component: &str) -> Result<(), &'static str> {
    match component {
        "" => Err("a component is empty, or it begins or ends with a slash"),
        "." | ".." => Err("`.` and `..` are not allowed"),
        _ if component.len() > LONGEST_COMPONENT => Err("a component is longer than 255 bytes"),
        _ if component.contains('/') => Err("a slash is not allowed here"),
        _ if component.chars().any(char::is_control) => Err("control characters are not allowed"),
        _ if component.trim().is_empty() => Err("a component is blank"),
        _ => Ok(()),
    }
}

impl AsRef<Path> for SubDir {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for SubDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    #[test]
    fn what_could_leave_the_share_or_name_the_share_itself_is_refused() {
        for path in [
            "",
            ".",
            "..",
            "/",
            "//",
            "/a",
            "a/",
            "a//b",
            "./a",
            "a/.",
            "../a",
            "a/../../b",
            "a/..",
            " ",
            "a/ /b",
            "a\0b",
            "a\nb",
            ".nfs-subdir-csi",
            ".nfs-subdir-csi/volumes",
        ] {
            assert!(SubDir::parse(path).is_err(), "{path:?}");
        }
        assert!(SubDir::parse(&"x".repeat(256)).is_err());
        assert!(SubDir::parse(&"x/".repeat(2000)).is_err());
    }

    #[test]
    fn ordinary_names_are_taken() {
        for path in
            ["ns-claim-pvc-1", "a/b/c", "..a", "a..", "...", "a b", "%2e%2e", "..\\..", ".nfs-subdir-csi2"]
        {
            assert_eq!(SubDir::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn whatever_can_be_made_can_be_archived() {
        let sub_dir = |path: &str| SubDir::parse(path).unwrap();
        assert_eq!(sub_dir("ns/claim").archived().as_str(), "archived-ns/claim");
        assert_eq!(sub_dir("ns/claim").with_suffix("-1f").as_str(), "ns/claim-1f");
        let long = format!("{}/{}", "ü".repeat(127), "x".repeat(255));
        let archived = sub_dir(&long).archived().with_suffix("-1f");
        assert_eq!(archived.as_str(), format!("archived-{}/{}-1f", "ü".repeat(123), "x".repeat(252)));
        assert_eq!(sub_dir(archived.as_str()), archived);
    }

    proptest! {
        #[test]
        fn any_text_that_is_taken_is_strictly_inside(path in "\\PC*|(\\.{0,3}/?){0,6}|[a/.\\\\\\x00-\\x1f]{0,12}") {
            if let Ok(sub_dir) = SubDir::parse(&path) {
                let components: Vec<_> = Path::new(sub_dir.as_str()).components().collect();
                prop_assert!(!components.is_empty());
                prop_assert!(components.iter().all(|c| matches!(c, Component::Normal(_))));
                prop_assert_ne!(components[0], Component::Normal(STATE_DIR.as_ref()));
                prop_assert!(!path.contains('\0'));
                let archived = sub_dir.archived().with_suffix("-1f");
                prop_assert_eq!(SubDir::parse(archived.as_str()), Ok(archived));
            }
        }
    }
}
