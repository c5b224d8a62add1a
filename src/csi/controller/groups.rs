//! The GroupController service: snapshots of several volumes, which are created and deleted together.

#![expect(clippy::needless_pass_by_value, reason = "every plan takes its request, so that all have one form")]

use std::sync::Arc;

use tonic::Request;

use super::snapshots::snapshot_request;
use super::{Answer, Controller, lane_of};
use crate::csi::call::dispatcher::respond;
use crate::csi::call::guard::Guard;
use crate::csi::call::lane::Lane;
use crate::csi::call::work::Work;
use crate::csi::decode;
use crate::csi::encode::encode_group;
use crate::csi::proto;
use crate::csi::proto::group_controller_service_capability::{Rpc, Type, rpc};
use crate::volume::error::{Error, Result};
use crate::volume::name::snapshot_handle::{Kind, LARGEST_GROUP};
use crate::volume::volumes::Volumes;

#[tonic::async_trait]
impl proto::group_controller_server::GroupController for Controller {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<proto::GroupControllerGetCapabilitiesRequest>,
    ) -> Answer<proto::GroupControllerGetCapabilitiesResponse> {
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
    ) -> Answer<proto::CreateVolumeGroupSnapshotResponse> {
        self.call("CreateVolumeGroupSnapshot", request, |request| &request.name, take).await
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<proto::DeleteVolumeGroupSnapshotRequest>,
    ) -> Answer<proto::DeleteVolumeGroupSnapshotResponse> {
        self.call("DeleteVolumeGroupSnapshot", request, |request| &request.group_snapshot_id, delete).await
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<proto::GetVolumeGroupSnapshotRequest>,
    ) -> Answer<proto::GetVolumeGroupSnapshotResponse> {
        self.call("GetVolumeGroupSnapshot", request, |request| &request.group_snapshot_id, get).await
    }
}

fn take(
    request: proto::CreateVolumeGroupSnapshotRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::CreateVolumeGroupSnapshotResponse>> {
    let sources = distinct(request.source_volume_ids)?;
    let new = snapshot_request(Kind::Group, request.name, sources, &request.secrets, &request.parameters)?;
    let lane = Lane::of_export(&volumes.settings.get(), Some(&new.export_id()?)).of_copies();
    Ok(Work::new(Guard::TakeGroup(new.name.clone()), lane, move |deadline| {
        let group_snapshot = Some(encode_group(&volumes.take_group(&new, deadline.left_for_copies())?));
        Ok(proto::CreateVolumeGroupSnapshotResponse { group_snapshot })
    }))
}

fn delete(
    request: proto::DeleteVolumeGroupSnapshotRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::DeleteVolumeGroupSnapshotResponse>> {
    let id = decode::handle("group_snapshot_id", &request.group_snapshot_id)?;
    let secret = decode::secret_options(&request.secrets);
    Ok(Work::new(Guard::DeleteGroup(id.clone()), lane_of(&volumes, &id), move |_| {
        volumes.delete_group(&id, secret.as_deref())?;
        Ok(proto::DeleteVolumeGroupSnapshotResponse {})
    }))
}

fn get(
    request: proto::GetVolumeGroupSnapshotRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::GetVolumeGroupSnapshotResponse>> {
    let id = decode::handle("group_snapshot_id", &request.group_snapshot_id)?;
    let secret = decode::secret_options(&request.secrets);
    Ok(Work::new(Guard::None, lane_of(&volumes, &id), move |_| {
        let group_snapshot = Some(encode_group(&volumes.find_group(&id, secret.as_deref())?));
        Ok(proto::GetVolumeGroupSnapshotResponse { group_snapshot })
    }))
}

/// Checks the volumes of a group: there is at least one, and none twice.
fn distinct(sources: Vec<String>) -> Result<Vec<String>> {
    if sources.is_empty() {
        return Err(Error::Missing("source_volume_ids"));
    }
    let invalid = |reason: String| Err(Error::invalid("source_volume_ids", reason));
    if sources.len() > LARGEST_GROUP {
        return invalid(format!("{} volumes are too many: at most {LARGEST_GROUP}", sources.len()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for source in &sources {
        decode::handle("source_volume_ids", source)?;
        if !seen.insert(source.as_str()) {
            return invalid(format!("{source} is there twice"));
        }
    }
    Ok(sources)
}
