//! The Controller service. Each call has a *plan*: a function that reads the request and returns the work, with its guard and
//! its lane. [`volumes`], [`lists`], [`snapshots`] and [`groups`] have the plans. The calls of [`health`] have none: they
//! look at exports, and their looks have plans.

mod groups;
mod health;
mod lists;
mod snapshots;
mod volumes;

use std::fmt::Debug;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::call::dispatcher::{Dispatcher, respond};
use super::call::lane::Lane;
use super::call::work::Work;
use super::proto;
use super::proto::controller_service_capability::{Rpc, Type, rpc};
use crate::volume::error::Result;
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::name::snapshot_handle::{GroupHandle, SnapshotHandle};
use crate::volume::share::csi_driver_nfs_archive::CsiDriverNfsSnapshotHandle;
use crate::volume::volumes::Volumes;

/// Creates, modifies, lists and deletes volumes and snapshots.
#[derive(Clone)]
pub struct Controller {
    /// Runs the calls.
    pub dispatcher: Dispatcher,
    /// The volumes of all exports.
    pub volumes: Arc<Volumes>,
}

type Answer<T> = Result<Response<T>, Status>;

const CAPABILITIES: [rpc::Type; 13] = [
    rpc::Type::CreateDeleteVolume,
    rpc::Type::CloneVolume,
    rpc::Type::CreateDeleteSnapshot,
    rpc::Type::ListSnapshots,
    rpc::Type::GetSnapshot,
    rpc::Type::ListVolumes,
    rpc::Type::GetCapacity,
    rpc::Type::ExpandVolume,
    rpc::Type::GetVolume,
    rpc::Type::ModifyVolume,
    rpc::Type::SingleNodeMultiWriter,
    rpc::Type::GetVolumeHealth,
    rpc::Type::ListVolumeHealth,
];

impl Controller {
    /// Runs one call as its plan says. `subject` is what the log names.
    async fn call<Q: Debug, T: Send + 'static>(
        &self,
        rpc: &'static str,
        request: Request<Q>,
        subject: impl FnOnce(&Q) -> &str,
        plan: impl FnOnce(Q, Arc<Volumes>) -> Result<Work<T>>,
    ) -> Answer<T> {
        let volumes = Arc::clone(&self.volumes);
        self.dispatcher.call(rpc, request, subject, |request| plan(request, volumes)).await
    }
}

/// The lane of a call that names a volume, a snapshot or a group by its handle. Each handle begins with its export.
fn lane_of(volumes: &Volumes, id: &str) -> Lane {
    let export = VolumeHandle::parse(id)
        .map(|handle| handle.export)
        .or_else(|| SnapshotHandle::parse(id).map(|handle| handle.export))
        .or_else(|| GroupHandle::parse(id).map(|handle| handle.export))
        .or_else(|| CsiDriverNfsSnapshotHandle::parse(id).map(|handle| ExportRef::Inline(handle.export)));
    Lane::of_export(&volumes.settings.get(), export.as_ref())
}

#[tonic::async_trait]
impl proto::controller_server::Controller for Controller {
    async fn create_volume(
        &self,
        request: Request<proto::CreateVolumeRequest>,
    ) -> Answer<proto::CreateVolumeResponse> {
        self.call("CreateVolume", request, |request| &request.name, volumes::create).await
    }

    async fn delete_volume(
        &self,
        request: Request<proto::DeleteVolumeRequest>,
    ) -> Answer<proto::DeleteVolumeResponse> {
        self.call("DeleteVolume", request, |request| &request.volume_id, volumes::delete).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<proto::ValidateVolumeCapabilitiesRequest>,
    ) -> Answer<proto::ValidateVolumeCapabilitiesResponse> {
        self.call("ValidateVolumeCapabilities", request, |request| &request.volume_id, volumes::validate)
            .await
    }

    async fn controller_get_volume(
        &self,
        request: Request<proto::ControllerGetVolumeRequest>,
    ) -> Answer<proto::ControllerGetVolumeResponse> {
        self.call("ControllerGetVolume", request, |request| &request.volume_id, volumes::get).await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<proto::ControllerExpandVolumeRequest>,
    ) -> Answer<proto::ControllerExpandVolumeResponse> {
        self.call("ControllerExpandVolume", request, |request| &request.volume_id, volumes::expand).await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<proto::ControllerModifyVolumeRequest>,
    ) -> Answer<proto::ControllerModifyVolumeResponse> {
        self.call("ControllerModifyVolume", request, |request| &request.volume_id, volumes::modify).await
    }

    async fn list_volumes(
        &self,
        request: Request<proto::ListVolumesRequest>,
    ) -> Answer<proto::ListVolumesResponse> {
        self.call("ListVolumes", request, |_| "", lists::volumes).await
    }

    async fn get_capacity(
        &self,
        request: Request<proto::GetCapacityRequest>,
    ) -> Answer<proto::GetCapacityResponse> {
        self.call("GetCapacity", request, |_| "", lists::capacity).await
    }

    async fn create_snapshot(
        &self,
        request: Request<proto::CreateSnapshotRequest>,
    ) -> Answer<proto::CreateSnapshotResponse> {
        self.call("CreateSnapshot", request, |request| &request.name, snapshots::take).await
    }

    async fn delete_snapshot(
        &self,
        request: Request<proto::DeleteSnapshotRequest>,
    ) -> Answer<proto::DeleteSnapshotResponse> {
        self.call("DeleteSnapshot", request, |request| &request.snapshot_id, snapshots::delete).await
    }

    async fn list_snapshots(
        &self,
        request: Request<proto::ListSnapshotsRequest>,
    ) -> Answer<proto::ListSnapshotsResponse> {
        self.call("ListSnapshots", request, |_| "", lists::snapshots).await
    }

    async fn get_snapshot(
        &self,
        request: Request<proto::GetSnapshotRequest>,
    ) -> Answer<proto::GetSnapshotResponse> {
        self.call("GetSnapshot", request, |request| &request.snapshot_id, snapshots::get).await
    }

    async fn controller_get_volume_health(
        &self,
        request: Request<proto::ControllerGetVolumeHealthRequest>,
    ) -> Answer<proto::ControllerGetVolumeHealthResponse> {
        self.volume_health(request).await
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<proto::ControllerListVolumeHealthRequest>,
    ) -> Answer<proto::ControllerListVolumeHealthResponse> {
        self.list_volume_health(request).await
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<proto::ControllerGetCapabilitiesRequest>,
    ) -> Answer<proto::ControllerGetCapabilitiesResponse> {
        let capability = |kind: rpc::Type| proto::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        };
        let capabilities = CAPABILITIES.map(capability).to_vec();
        respond("ControllerGetCapabilities", proto::ControllerGetCapabilitiesResponse { capabilities })
    }
}
