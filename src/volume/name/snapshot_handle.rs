//! The handles of snapshots and of groups of snapshots.

use std::fmt;

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::LONGEST_HANDLE;
use crate::volume::name::handle::VolumeKey;

/// The most members that a group can have. The number of a member is a part of its handle.
pub const LARGEST_GROUP: usize = 1000;

/// The handle of a snapshot: `<export>#<key>`, or `<export>#<key>#<number>` for a member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHandle {
    /// The export that contains the snapshot.
    pub export: ExportRef,
    /// The key of its record.
    pub key: VolumeKey,
    /// The number of the snapshot in its group. The key is then the key of the group.
    pub member: Option<usize>,
}

/// The handle of a group of snapshots: `<export>#<key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHandle {
    /// The export that contains the group.
    pub export: ExportRef,
    /// The key of its record.
    pub key: VolumeKey,
}

impl SnapshotHandle {
    /// The handle of a single snapshot.
    #[must_use]
    pub fn single(export: ExportRef, key: VolumeKey) -> Self {
        Self { export, key, member: None }
    }

    /// The handle of a member of a group.
    #[must_use]
    pub fn member(export: ExportRef, key: VolumeKey, number: usize) -> Self {
        Self { export, key, member: Some(number) }
    }

    /// The group that the snapshot is a member of.
    #[must_use]
    pub fn group(&self) -> Option<GroupHandle> {
        self.member.map(|_| GroupHandle { export: self.export.clone(), key: self.key.clone() })
    }

    /// Whether the snapshot is single or a member of a group.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.member.is_some() { Kind::Group } else { Kind::Single }
    }

    /// The number of the snapshot's tree in its set: 0 for a single snapshot.
    #[must_use]
    pub fn number(&self) -> usize {
        self.member.unwrap_or(0)
    }

    /// Reads a handle. Returns `None` for any other text.
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
    /// Reads a handle. Returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (export, key) = text.split_once('#')?;
        Some(Self { export: ExportRef::parse(export).ok()?, key: VolumeKey::parse(key)? })
    }
}

/// Fails if a new handle is too long (CSI specification, "Size Limits").
pub(in crate::volume) fn check_length(handle: &impl fmt::Display) -> Result<()> {
    let length = handle.to_string().len();
    if length <= LONGEST_HANDLE {
        return Ok(());
    }
    let reason = format!(
        "the handle {handle} would have {length} bytes, and CSI allows {LONGEST_HANDLE}: give the export a short name \
         in the driver's configuration"
    );
    Err(Error::invalid("name", reason))
}

/// Reads a number in the form that is displayed, and no other, so that a member has exactly one handle.
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

/// The kind of a set of snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A single snapshot.
    Single,
    /// A group of snapshots, which are made and deleted together.
    Group,
}

impl Kind {
    /// Both kinds, in the order in which they are listed.
    pub(in crate::volume) const ALL: [Self; 2] = [Self::Single, Self::Group];

    /// The directory within the state directory that contains the sets of this kind.
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
