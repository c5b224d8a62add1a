//! The record of a snapshot, or of a group of snapshots.

use serde::{Deserialize, Serialize};

use crate::volume::error::{Error, Result};
use crate::volume::name::snapshot_handle::LARGEST_GROUP;
use crate::volume::policy::parameters::Ownership;
use crate::volume::share::record::content_of;
use crate::volume::share::record::format;

/// The largest record file that is read, in bytes. The record of the largest group has fewer.
pub(in crate::volume) const LONGEST_RECORD: u64 = 512 * 1024;

/// The content of the `record.json` of a set of snapshots. It is never changed. [`mod@format`]
/// says what a later version may add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// `CreateSnapshotRequest.name`, or that of the group.
    pub name: String,
    /// When copying began: nanoseconds since 1970-01-01 UTC.
    pub created_ns: u64,
    /// One member for each volume. The directory `n` has the tree of the member with the number `n`, counted from 0. A single snapshot has
    /// one member.
    pub members: Vec<Member>,
}

/// The snapshot of one volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The volume's handle.
    pub source: String,
    /// The size of the tree in bytes.
    pub size_bytes: u64,
    /// The capacity of the volume in bytes.
    pub capacity_bytes: u64,
    /// Owner, group and mode with which the volume was created.
    pub ownership: Ownership,
}

impl SnapshotRecord {
    /// Parses a record file. `path` is used in messages.
    pub fn from_json(json: &[u8], path: &str) -> Result<Self> {
        let bad = |reason: String| Error::BadRecord { path: path.to_owned(), reason };
        let record: Self = format::parse(json).map_err(bad)?;
        if !(1..=LARGEST_GROUP).contains(&record.members.len()) {
            return Err(bad(format!("it has {} members", record.members.len())));
        }
        Ok(record)
    }

    /// The content of the record file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        content_of(self)
    }

    /// The handles of the volumes, in their order.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.source.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> SnapshotRecord {
        let member = Member {
            source: "fast#pvc-1".to_owned(),
            size_bytes: 4096,
            capacity_bytes: 1 << 30,
            ownership: Ownership::default(),
        };
        SnapshotRecord {
            name: "snapshot-1".to_owned(),
            created_ns: 1_700_000_000_000_000_001,
            members: vec![member],
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        assert_eq!(SnapshotRecord::from_json(&record().to_json(), "r").unwrap(), record());
        let empty = SnapshotRecord { members: Vec::new(), ..record() };
        assert!(SnapshotRecord::from_json(&empty.to_json(), "r").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..400) {
            let mut json = record().to_json();
            json.truncate(cut);
            json.extend(&bytes);
            let _ = SnapshotRecord::from_json(&json, "r");
        }
    }
}
