//! From the domain's types to protobuf. All functions are pure.

use super::proto;
use super::proto::node_get_storage_health_response::StorageBackendHealth;
use super::proto::volume_health::VolumeHealthEntry;
use super::proto::volume_usage::Unit;
use super::proto::{StorageHealthErrorType, VolumeHealthErrorType};
use super::status::cap;
use crate::linux::dir::Usage;
use crate::volume::controller::snapshot::{Group, Snapshot};
use crate::volume::name::source::Source;
use crate::volume::share::health::{Finding, Severity, Trouble};
use crate::volume::volumes::Volume;

pub(super) fn encode_volume(volume: &Volume) -> proto::Volume {
    proto::Volume {
        volume_id: volume.handle.to_string(),
        volume_context: volume.context.to_map(),
        capacity_bytes: signed(volume.capacity_bytes),
        content_source: volume.source.as_ref().map(encode_source),
        ..Default::default()
    }
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Encodes what a volume was filled with, for the answer of CreateVolume.
pub(super) fn encode_source(source: &Source) -> proto::VolumeContentSource {
    use proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
    let kind = match source {
        Source::Snapshot(id) => Type::Snapshot(SnapshotSource { snapshot_id: id.clone() }),
        Source::Volume(id) => Type::Volume(VolumeSource { volume_id: id.clone() }),
    };
    proto::VolumeContentSource { r#type: Some(kind) }
}

pub(super) fn encode_snapshot(snapshot: &Snapshot) -> proto::Snapshot {
    proto::Snapshot {
        size_bytes: signed(snapshot.size_bytes),
        snapshot_id: snapshot.id.clone(),
        source_volume_id: snapshot.source.clone(),
        creation_time: Some(timestamp(snapshot.created_ns)),
        // A snapshot that is not complete is not visible.
        ready_to_use: true,
        group_snapshot_id: snapshot.group.as_ref().map(ToString::to_string).unwrap_or_default(),
        // There is no topology: every node can reach an export.
        accessible_topology: Vec::new(),
    }
}

pub(super) fn encode_group(group: &Group) -> proto::VolumeGroupSnapshot {
    proto::VolumeGroupSnapshot {
        group_snapshot_id: group.handle.to_string(),
        snapshots: group.snapshots.iter().map(encode_snapshot).collect(),
        creation_time: Some(timestamp(group.created_ns)),
        ready_to_use: true,
    }
}

pub(super) fn encode_usage(usage: &Usage) -> Vec<proto::VolumeUsage> {
    let usage_of = |unit: Unit, total: u64, used: u64, available: u64| proto::VolumeUsage {
        unit: unit.into(),
        total: signed(total),
        used: signed(used),
        available: signed(available),
    };
    vec![
        usage_of(Unit::Bytes, usage.total_bytes, usage.used_bytes, usage.available_bytes),
        usage_of(Unit::Inodes, usage.total_inodes, usage.used_inodes, usage.available_inodes),
    ]
}

/// Encodes what is wrong with a volume. No two findings have the same trouble.
pub(super) fn encode_health(
    volume_id: String,
    found: &[Finding],
    severity: impl Fn(Trouble) -> Severity,
) -> proto::VolumeHealth {
    let entry = |finding: &Finding| VolumeHealthEntry {
        status: match severity(finding.trouble) {
            Severity::Degraded => VolumeHealthErrorType::Degraded.into(),
            Severity::Inaccessible => VolumeHealthErrorType::Inaccessible.into(),
        },
        reason: finding.trouble.reason().to_owned(),
        message: cap(finding.message.clone()),
    };
    proto::VolumeHealth { volume_id, health_statuses: found.iter().map(entry).collect() }
}

/// Encodes one kind of trouble of this node's exports, with a message about each export.
pub(super) fn encode_storage_health(trouble: Trouble, mut messages: Vec<String>) -> StorageBackendHealth {
    messages.sort();
    let count = messages.len();
    let exports = if count == 1 { String::new() } else { format!("{count} exports: ") };
    StorageBackendHealth {
        status: match trouble.for_this_node() {
            Severity::Degraded => StorageHealthErrorType::StorageDegraded.into(),
            Severity::Inaccessible => StorageHealthErrorType::StorageUnreachable.into(),
        },
        reason: trouble.reason().to_owned(),
        message: cap(format!("{exports}{}", messages.join("; "))),
        volume_capability: None,
    }
}

fn timestamp(nanoseconds: u64) -> prost_types::Timestamp {
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    prost_types::Timestamp { seconds: signed(seconds), nanos: i32::try_from(rest).unwrap_or(0) }
}
