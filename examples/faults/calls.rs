//! Every call of the three services. Each call has volumes and snapshots that no other call uses, so that all calls can run at the same time.

use std::pin::Pin;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto;
use proto::volume_capability::access_mode::Mode;
use proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
use tonic::{Code, Status};

use crate::round::{CLASS, Round};
use crate::support;
use crate::world::CALL_TIMEOUT;

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing: it returns what the service knows.
    Known,
    /// The driver does not offer it.
    Unimplemented,
    /// Only the mount table.
    MountTable,
    /// It reads from the export.
    Read,
    /// It asks for the room on the file system of the export, which a server that squashes root tells, too.
    Room,
    /// It reads from all exports.
    List,
    /// It makes something on the export.
    Create,
    /// It changes something on the export.
    Write,
    /// It removes something from the export.
    Remove,
    /// It copies files.
    Copy,
    /// It mounts the export and opens a directory.
    Publish,
    /// It asks the server about a published volume.
    Stats,
    /// It tells what is known of a volume or an export, and looks at the export if nothing is known.
    Health,
}

type Answer = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// A call that has not begun.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    answer: Answer,
}

/// The result of a call.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) took: Duration,
}

impl Call {
    /// Waits for the answer. If there is no answer some seconds after the time limit of the call, stops waiting.
    pub(crate) async fn run(self) -> Outcome {
        let Self { name, class, answer } = self;
        let begun = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(CALL_TIMEOUT + 10), answer).await;
        let took = begun.elapsed();
        let (code, message) = match answer {
            Ok(Ok(())) => (Code::Ok, String::new()),
            Ok(Err(status)) => (status.code(), status.message().to_owned()),
            Err(_) => (Code::Unknown, "no answer".to_owned()),
        };
        Outcome { name, class, code, message, took }
    }
}

/// All calls. None of them has begun.
pub(crate) fn all(round: &Round) -> Vec<Call> {
    let mut calls = identity(round);
    calls.extend(volumes(round));
    calls.extend(snapshots(round));
    calls.extend(node(round));
    calls.extend(health(round));
    calls
}

/// A call of a method of a client.
macro_rules! call {
    ($name:literal, $class:ident, $client:expr, $method:ident($($request:tt)*)) => {{
        let (mut client, request) = ($client.clone(), $($request)*);
        let answer: Answer = Box::pin(async move { client.$method(request).await.map(drop) });
        Call { name: $name, class: Class::$class, answer }
    }};
}

fn identity(round: &Round) -> Vec<Call> {
    let (controller, node) = (&round.clients.controller, &round.clients.node);
    vec![
        call!("GetPluginInfo", Known, controller.identity, get_plugin_info(proto::GetPluginInfoRequest {})),
        call!(
            "GetPluginCapabilities",
            Known,
            controller.identity,
            get_plugin_capabilities(proto::GetPluginCapabilitiesRequest {})
        ),
        call!("Probe", Known, controller.identity, probe(proto::ProbeRequest {})),
        call!("Probe (node)", Known, node.identity, probe(proto::ProbeRequest {})),
        call!(
            "ControllerGetCapabilities",
            Known,
            controller.controller,
            controller_get_capabilities(proto::ControllerGetCapabilitiesRequest {})
        ),
        call!(
            "GroupControllerGetCapabilities",
            Known,
            controller.group,
            group_controller_get_capabilities(proto::GroupControllerGetCapabilitiesRequest {})
        ),
        call!(
            "NodeGetCapabilities",
            Known,
            node.node,
            node_get_capabilities(proto::NodeGetCapabilitiesRequest {})
        ),
        call!("NodeGetInfo", Known, node.node, node_get_info(proto::NodeGetInfoRequest {})),
        call!(
            "ControllerPublishVolume",
            Unimplemented,
            controller.controller,
            controller_publish_volume(proto::ControllerPublishVolumeRequest::default())
        ),
        call!(
            "ControllerUnpublishVolume",
            Unimplemented,
            controller.controller,
            controller_unpublish_volume(proto::ControllerUnpublishVolumeRequest::default())
        ),
        call!(
            "NodeStageVolume",
            Unimplemented,
            node.node,
            node_stage_volume(proto::NodeStageVolumeRequest::default())
        ),
        call!(
            "NodeUnstageVolume",
            Unimplemented,
            node.node,
            node_unstage_volume(proto::NodeUnstageVolumeRequest::default())
        ),
        call!(
            "NodeExpandVolume",
            Unimplemented,
            node.node,
            node_expand_volume(proto::NodeExpandVolumeRequest::default())
        ),
    ]
}

fn volumes(round: &Round) -> Vec<Call> {
    let controller = &round.clients.controller.controller;
    let id = |short: &str| round.handle(short);
    let from = |name: &str, source: Type| proto::CreateVolumeRequest {
        volume_content_source: Some(proto::VolumeContentSource { r#type: Some(source) }),
        ..support::create(&round.name(name), &CLASS)
    };
    let snapshot = Type::Snapshot(SnapshotSource { snapshot_id: id("s-restore") });
    let volume = Type::Volume(VolumeSource { volume_id: id("clone") });
    vec![
        call!("CreateVolume", Create, controller, create_volume(support::create(&round.name("new"), &CLASS))),
        call!("CreateVolume of a snapshot", Copy, controller, create_volume(from("restored", snapshot))),
        call!("CreateVolume of a volume", Copy, controller, create_volume(from("cloned", volume))),
        call!("DeleteVolume", Remove, controller, delete_volume(support::delete(round.volume("delete")))),
        call!(
            "ValidateVolumeCapabilities",
            Read,
            controller,
            validate_volume_capabilities(proto::ValidateVolumeCapabilitiesRequest {
                volume_id: id("validate"),
                volume_capabilities: vec![support::capability(Mode::MultiNodeMultiWriter, &[])],
                ..Default::default()
            })
        ),
        call!("ListVolumes", List, controller, list_volumes(proto::ListVolumesRequest::default())),
        call!(
            "GetCapacity",
            Room,
            controller,
            get_capacity(proto::GetCapacityRequest {
                parameters: support::map(&CLASS),
                ..Default::default()
            })
        ),
        call!(
            "ControllerGetVolume",
            Read,
            controller,
            controller_get_volume(proto::ControllerGetVolumeRequest { volume_id: id("get") })
        ),
        call!(
            "ControllerExpandVolume",
            Write,
            controller,
            controller_expand_volume(proto::ControllerExpandVolumeRequest {
                volume_id: id("expand"),
                capacity_range: Some(proto::CapacityRange { required_bytes: 2 << 30, limit_bytes: 0 }),
                ..Default::default()
            })
        ),
        call!(
            "ControllerModifyVolume",
            Write,
            controller,
            controller_modify_volume(proto::ControllerModifyVolumeRequest {
                volume_id: id("modify"),
                mutable_parameters: support::map(&[("mountPermissions", "0750")]),
                ..Default::default()
            })
        ),
    ]
}

fn snapshots(round: &Round) -> Vec<Call> {
    let (controller, group) = (&round.clients.controller.controller, &round.clients.controller.group);
    let id = |short: &str| round.handle(short);
    let get = round.existing_group("g-get");
    let delete = round.existing_group("g-delete");
    vec![
        call!("CreateSnapshot", Copy, controller, create_snapshot(round.snapshot("s-new", "snap"))),
        call!(
            "DeleteSnapshot",
            Remove,
            controller,
            delete_snapshot(proto::DeleteSnapshotRequest {
                snapshot_id: id("s-delete"),
                ..Default::default()
            })
        ),
        call!("ListSnapshots", List, controller, list_snapshots(proto::ListSnapshotsRequest::default())),
        call!(
            "GetSnapshot",
            Read,
            controller,
            get_snapshot(proto::GetSnapshotRequest { snapshot_id: id("s-get"), ..Default::default() })
        ),
        call!(
            "CreateVolumeGroupSnapshot",
            Copy,
            group,
            create_volume_group_snapshot(round.group("g-new", "group"))
        ),
        call!(
            "GetVolumeGroupSnapshot",
            Read,
            group,
            get_volume_group_snapshot(proto::GetVolumeGroupSnapshotRequest {
                group_snapshot_id: get.0,
                snapshot_ids: get.1,
                ..Default::default()
            })
        ),
        call!(
            "DeleteVolumeGroupSnapshot",
            Remove,
            group,
            delete_volume_group_snapshot(proto::DeleteVolumeGroupSnapshotRequest {
                group_snapshot_id: delete.0,
                snapshot_ids: delete.1,
                ..Default::default()
            })
        ),
    ]
}

fn node(round: &Round) -> Vec<Call> {
    let node = &round.clients.node.node;
    let publish = |short: &str| support::publish(round.volume(short), &round.target(short), &[]);
    let unpublish = |short: &str| support::unpublish(round.volume(short), &round.target(short));
    let (mut hanging, mut revoking) = (node.clone(), node.clone());
    let (hangs, revokes) = (publish("revoke"), unpublish("revoke"));
    // The time of this call is that of the unpublish and the wait before it.
    let revoke: Answer = Box::pin(async move {
        tokio::spawn(async move { hanging.node_publish_volume(hangs).await });
        tokio::time::sleep(REVOKED_AFTER).await;
        revoking.node_unpublish_volume(revokes).await.map(drop)
    });
    vec![
        call!("NodePublishVolume", Publish, node, node_publish_volume(publish("publish"))),
        call!("NodePublishVolume again", MountTable, node, node_publish_volume(publish("again"))),
        call!("NodeUnpublishVolume", MountTable, node, node_unpublish_volume(unpublish("unpublish"))),
        Call { name: "NodeUnpublishVolume during its publish", class: Class::MountTable, answer: revoke },
        call!(
            "NodeGetVolumeStats",
            Stats,
            node,
            node_get_volume_stats(proto::NodeGetVolumeStatsRequest {
                volume_id: round.handle("stats"),
                volume_path: round.target("stats").to_string_lossy().into_owned(),
                ..Default::default()
            })
        ),
    ]
}

fn health(round: &Round) -> Vec<Call> {
    let (controller, node) = (&round.clients.controller.controller, &round.clients.node.node);
    vec![
        call!(
            "ControllerGetVolumeHealth",
            Health,
            controller,
            controller_get_volume_health(proto::ControllerGetVolumeHealthRequest {
                volume_id: round.handle("get"),
                ..Default::default()
            })
        ),
        call!(
            "ControllerListVolumeHealth",
            List,
            controller,
            controller_list_volume_health(proto::ControllerListVolumeHealthRequest::default())
        ),
        call!(
            "NodeGetVolumeHealth",
            Health,
            node,
            node_get_volume_health(proto::NodeGetVolumeHealthRequest {
                volume_id: round.handle("stats"),
                volume_publish_path: round.target("stats").to_string_lossy().into_owned(),
                ..Default::default()
            })
        ),
        call!(
            "NodeGetStorageHealth",
            Health,
            node,
            node_get_storage_health(proto::NodeGetStorageHealthRequest::default())
        ),
    ]
}

/// How long after its publish a target is unpublished.
pub(crate) const REVOKED_AFTER: Duration = Duration::from_secs(1);

impl Class {
    /// Whether a call of this class asks the server of an export.
    pub(crate) const fn needs_export(self) -> bool {
        !matches!(self, Self::Known | Self::Unimplemented | Self::MountTable)
    }
}
