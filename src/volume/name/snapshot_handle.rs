//! The handles of snapshots and of groups of them.

use std::fmt;

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::LONGEST_HANDLE;
use crate::volume::name::handle::VolumeKey;

/// Members that a group may have. Their numbers are part of handles.
pub const LARGEST_GROUP: usize = 1000;

/// What names a snapshot: `<export>#<key>`, or `<export>#<key>#<number>` for a member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHandle {
    /// Where it lies.
    pub export: ExportRef,
    /// The key of its record.
    pub key: VolumeKey,
    /// Its place in the group whose key that is.
    pub member: Option<usize>,
}

/// What names a group of snapshots: `<export>#<key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHandle {
    /// Where it lies.
    pub export: ExportRef,
    /// The key of its record.
    pub key: VolumeKey,
}

impl SnapshotHandle {
    /// The handle of a snapshot of its own.
    #[must_use]
    pub fn single(export: ExportRef, key: VolumeKey) -> Self {
        Self { export, key, member: None }
    }

    /// The handle of a group's member.
    #[must_use]
    pub fn member(export: ExportRef, key: VolumeKey, number: usize) -> Self {
        Self { export, key, member: Some(number) }
    }

    /// The group that it is a member of.
    #[must_use]
    pub fn group(&self) -> Option<GroupHandle> {
        self.member.map(|_| GroupHandle { export: self.export.clone(), key: self.key.clone() })
    }

    /// Whether it is a set of its own or part of one.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.member.is_some() { Kind::Group } else { Kind::Single }
    }

    /// The place of its tree in its set.
    #[must_use]
    pub fn number(&self) -> usize {
        self.member.unwrap_or(0)
    }

    /// Reads a handle, or answers `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (export, rest) = text.split_once('#')?;
        let (key, member) = match rest.split_once('#') {
            Some((key, number)) => (key, Some(parse_number(number)?)),
            None => (rest, None),
        };
        Some(Self { export: ExportRef::parse(export).ok()?, key: VolumeKey::parse(key)?, member })
    }
}

impl GroupHandle {
    /// Reads a handle, or answers `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (export, key) = text.split_once('#')?;
        Some(Self { export: ExportRef::parse(export).ok()?, key: VolumeKey::parse(key)? })
    }
}

/// A handle that is to be given out, if it is short enough for that (CSI specification, "Size Limits").
pub(in crate::volume) fn check_length(handle: &impl fmt::Display) -> Result<()> {
    let length = handle.to_string().len();
    if length <= LONGEST_HANDLE {
        return Ok(());
    }
    let reason = format!(
        "it makes the handle {handle} of {length} bytes, and CSI allows {LONGEST_HANDLE}: give the export a short name in \
         the driver's configuration"
    );
    Err(Error::invalid("name", reason))
}

/// A number as [`fmt::Display`] writes it, so that a member has one handle.
fn parse_number(text: &str) -> Option<usize> {
    let number: usize = text.parse().ok()?;
    (number < LARGEST_GROUP && number.to_string() == text).then_some(number)
}

impl fmt::Display for SnapshotHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.export, self.key)?;
        self.member.map_or(Ok(()), |number| write!(f, "#{number}"))
    }
}

impl fmt::Display for GroupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.export, self.key)
    }
}

/// What a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A snapshot of its own.
    Single,
    /// A group of snapshots, which come and go together.
    Group,
}

impl Kind {
    /// Both, in the order of lists.
    pub(in crate::volume) const ALL: [Self; 2] = [Self::Single, Self::Group];

    /// The folder of the state directory that its sets lie in.
    pub(in crate::volume) fn part(self) -> &'static str {
        match self {
            Self::Single => "snapshots",
            Self::Group => "groups",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::sub_dir::check_component;
    use proptest::prelude::*;

    #[test]
    fn a_handle_reads_back_as_it_was_written() {
        let (export, key) = (ExportRef::parse("nas:/srv").unwrap(), VolumeKey::of_name("snapshot-1"));
        for (handle, text) in [
            (SnapshotHandle::single(export.clone(), key.clone()), "nas:/srv#snapshot-1"),
            (SnapshotHandle::member(export, key, 12), "nas:/srv#snapshot-1#12"),
        ] {
            assert_eq!(handle.to_string(), text);
            assert_eq!(SnapshotHandle::parse(text), Some(handle));
        }
        for text in [
            "nas:/srv",
            "nas:/srv#s#01",
            "nas:/srv#s#1000",
            "nas:/srv#s#+1",
            "nas:/srv#s#1#2",
            "#s",
            "a#..#1",
        ] {
            assert_eq!(SnapshotHandle::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_without_panic_to_one_plain_name(text in "\\PC*|([a-z0-9:/.]{0,9}#){0,3}[a-z0-9.]{0,5}") {
            if let Some(handle) = SnapshotHandle::parse(&text) {
                prop_assert!(check_component(handle.key.as_str()).is_ok());
                prop_assert_eq!(handle.number() < LARGEST_GROUP, true);
                prop_assert_eq!(SnapshotHandle::parse(&handle.to_string()), Some(handle));
            }
            let _ = GroupHandle::parse(&text);
        }
    }
}
