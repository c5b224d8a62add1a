//! The GroupController service: snapshots of several volumes, which come and go together.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::controller::Controller;
use super::dispatcher::{Work, respond};
use super::encode::encode_group;
use super::proto;
use super::proto::group_controller_service_capability::{Rpc, Type, rpc};
use super::snapshot::snapshot_request;
use super::{deadline, decode};
use crate::volume::error::{Error, Result};
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::name::snapshot_handle::{GroupHandle, LARGEST_GROUP};

#[tonic::async_trait]
impl proto::group_controller_server::GroupController for Controller {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<proto::GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<proto::GroupControllerGetCapabilitiesResponse>, Status> {
        let kind = rpc::Type::CreateDeleteGetVolumeGroupSnapshot.into();
        let capability =
            proto::GroupControllerServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: kind })) };
        let capabilities = vec![capability];
        respond(
            "GroupControllerGetCapabilities",
            proto::GroupControllerGetCapabilitiesResponse { capabilities },
        )
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<proto::CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<proto::CreateVolumeGroupSnapshotResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let name = request.get_ref().name.clone();
        let timeout = deadline::time_left(request.metadata(), self.dispatcher.timeout());
        let plan = |request: proto::CreateVolumeGroupSnapshotRequest| {
            decode::required("name", &request.name)?;
            let sources = distinct(request.source_volume_ids)?;
            let new =
                snapshot_request(Kind::Group, request.name, sources, &request.secrets, &request.parameters)?;
            let lane = format!("snapshots of {}", new.export_id()?);
            Ok(Work::new(format!("group {}", new.name), lane, move || {
                let group_snapshot = Some(encode_group(&volumes.take_group(&new, timeout)?));
                Ok(proto::CreateVolumeGroupSnapshotResponse { group_snapshot })
            }))
        };
        self.dispatcher.call("CreateVolumeGroupSnapshot", &name, request, plan).await
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<proto::DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<proto::DeleteVolumeGroupSnapshotResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let id = request.get_ref().group_snapshot_id.clone();
        let plan = |request: proto::DeleteVolumeGroupSnapshotRequest| {
            let id = decode::required("group_snapshot_id", &request.group_snapshot_id)?.to_owned();
            let secret = decode::secret_options(&request.secrets);
            Ok(Work::new(format!("delete group {id}"), lane_of(&id), move || {
                volumes.delete_group(&id, secret.as_deref())?;
                Ok(proto::DeleteVolumeGroupSnapshotResponse {})
            }))
        };
        self.dispatcher.call("DeleteVolumeGroupSnapshot", &id, request, plan).await
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<proto::GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<proto::GetVolumeGroupSnapshotResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let id = request.get_ref().group_snapshot_id.clone();
        let plan = |request: proto::GetVolumeGroupSnapshotRequest| {
            let id = decode::required("group_snapshot_id", &request.group_snapshot_id)?.to_owned();
            let secret = decode::secret_options(&request.secrets);
            let guard = format!("get group {id} {}", crate::linux::unique());
            Ok(Work::new(guard, lane_of(&id), move || {
                let group_snapshot = Some(encode_group(&volumes.find_group(&id, secret.as_deref())?));
                Ok(proto::GetVolumeGroupSnapshotResponse { group_snapshot })
            }))
        };
        self.dispatcher.call("GetVolumeGroupSnapshot", &id, request, plan).await
    }
}

/// At least one volume, none twice.
fn distinct(sources: Vec<String>) -> Result<Vec<String>> {
    if sources.is_empty() {
        return Err(Error::Missing("source_volume_ids"));
    }
    let invalid = |reason: String| Err(Error::invalid("source_volume_ids", reason));
    if sources.len() > LARGEST_GROUP {
        return invalid(format!("{} volumes are too many: at most {LARGEST_GROUP}", sources.len()));
    }
    let mut seen = std::collections::BTreeSet::new();
    match sources.iter().find(|source| !seen.insert(source.as_str())) {
        Some(twice) => invalid(format!("{twice} is there twice")),
        None => Ok(sources),
    }
}

fn lane_of(id: &str) -> String {
    GroupHandle::parse(id).map_or_else(|| "no export".to_owned(), |handle| handle.export.to_string())
}
