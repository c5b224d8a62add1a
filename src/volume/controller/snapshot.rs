//! Snapshots: frozen copies of volumes, singly or in groups, kept in the state directory of their export.
//!
//! ```text
//! snapshots/<key>/record.json    what it is         groups/<key>/record.json
//! snapshots/<key>/0/             the tree           groups/<key>/0/ 1/ 2/ …
//! ```
//! A snapshot is built in the directory of the process. One rename(2) makes record and trees appear together, and another
//! one deletes them.

use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::name::snapshot_handle::GroupHandle;
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::name::snapshot_handle::SnapshotHandle;
use crate::volume::share::snapshots::record::Member;
use crate::volume::share::snapshots::record::SnapshotRecord;

/// One snapshot as the orchestrator is told of it. There is none that is not ready to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its handle, as text.
    pub id: String,
    /// The group it is a member of.
    pub group: Option<GroupHandle>,
    /// The volume's handle, as CreateSnapshot named it.
    pub source: String,
    /// Bytes that the tree took up.
    pub size_bytes: u64,
    /// When copying began: nanoseconds since 1970-01-01 UTC.
    pub created_ns: u64,
}

/// A group of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its handle.
    pub handle: GroupHandle,
    /// One for each volume, in the order they were asked for.
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

/// The snapshots of a set, in their order. Their handles name the export as that of the volume does.
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
