//! Snapshots: copies of volumes, single or in groups, in the state directory of the export.
//!
//! ```text
//! snapshots/<key>/record.json    the record         groups/<key>/record.json
//! snapshots/<key>/0/             the tree           groups/<key>/0/ 1/ 2/ …
//! ```
//! A snapshot is created in the directory of the process. One rename(2) makes the record and the trees visible together, and one rename(2)
//! deletes them.

use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::name::snapshot_handle::GroupHandle;
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::name::snapshot_handle::SnapshotHandle;
use crate::volume::share::snapshots::record::Member;
use crate::volume::share::snapshots::record::SnapshotRecord;

/// A snapshot as the answer to the orchestrator describes it. Every snapshot that exists is ready to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The handle.
    pub id: String,
    /// The group that the snapshot is a member of; `None` for a single snapshot.
    pub group: Option<GroupHandle>,
    /// The handle of the volume.
    pub source: String,
    /// The size of the tree in bytes.
    pub size_bytes: u64,
    /// When copying began: nanoseconds since 1970-01-01 UTC.
    pub created_ns: u64,
}

/// A group of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The handle.
    pub handle: GroupHandle,
    /// One snapshot for each volume, in the order of the request.
    pub snapshots: Vec<Snapshot>,
    /// When copying began: nanoseconds since 1970-01-01 UTC.
    pub created_ns: u64,
}

impl Snapshot {
    pub(super) fn new(handle: &SnapshotHandle, record: &SnapshotRecord, member: &Member) -> Self {
        Self {
            id: handle.to_string(),
            group: handle.group(),
            source: member.source.clone(),
            size_bytes: member.size_bytes,
            created_ns: record.created_ns,
        }
    }
}

/// The snapshots of a set, in the order of its members. Their handles name the export as that of the volume does.
pub(super) fn snapshots_of(
    kind: Kind,
    export: &ExportRef,
    key: &VolumeKey,
    record: &SnapshotRecord,
) -> Vec<Snapshot> {
    let source = record.members.first().and_then(|member| VolumeHandle::parse(&member.source));
    let export =
        source.map(|source| source.export).filter(|own| own.is_same_place(export)).unwrap_or(export.clone());
    let handle = |number: usize| match kind {
        Kind::Single => SnapshotHandle::single(export.clone(), key.clone()),
        Kind::Group => SnapshotHandle::member(export.clone(), key.clone(), number),
    };
    let members = record.members.iter().enumerate();
    members.map(|(number, member)| Snapshot::new(&handle(number), record, member)).collect()
}
