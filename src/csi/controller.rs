//! The Controller service.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::dispatcher::{Dispatcher, Work, respond};
use super::encode::{encode_volume, signed};
use super::proto;
use super::proto::controller_service_capability::{Rpc, Type, rpc};
use super::proto::list_volumes_response;
use super::proto::validate_volume_capabilities_response::Confirmed;
use super::{deadline, decode};
use crate::volume::controller::create::NewVolume;
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeHandle;
use crate::volume::policy::parameters::{Change, Parameters};
use crate::volume::policy::volume_context::VolumeContext;
use crate::volume::volumes;
use crate::volume::volumes::Volume;
use crate::volume::volumes::Volumes;
use crate::volume::volumes::context_of;

/// Makes, changes, lists and deletes volumes.
#[derive(Clone)]
pub struct Controller {
    /// How calls are run.
    pub dispatcher: Dispatcher,
    /// What they work on.
    pub volumes: Arc<Volumes>,
}

const CAPABILITIES: [rpc::Type; 11] = [
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
];

#[tonic::async_trait]
impl proto::controller_server::Controller for Controller {
    async fn create_volume(
        &self,
        request: Request<proto::CreateVolumeRequest>,
    ) -> Result<Response<proto::CreateVolumeResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let name = request.get_ref().name.clone();
        let timeout = deadline::time_left(request.metadata(), self.dispatcher.timeout());
        let plan = |request| {
            let new = new_volume(request, &volumes)?;
            let handle = new.handle()?;
            let export = handle.export.to_string();
            // A lane of its own: calls that wait for long copies may not keep short ones out.
            let lane = if new.source.is_some() { format!("copies to {export}") } else { export };
            Ok(Work::new(handle.to_string(), lane, move || {
                let volume = Some(encode_volume(&volumes.create(&new, timeout)?));
                Ok(proto::CreateVolumeResponse { volume })
            }))
        };
        self.dispatcher.call("CreateVolume", &name, request, plan).await
    }

    async fn delete_volume(
        &self,
        request: Request<proto::DeleteVolumeRequest>,
    ) -> Result<Response<proto::DeleteVolumeResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let id = request.get_ref().volume_id.clone();
        let plan = |request: proto::DeleteVolumeRequest| {
            let id = decode::required("volume_id", &request.volume_id)?.to_owned();
            let secret = decode::secret_options(&request.secrets);
            Ok(Work::new(id.clone(), lane_of(&id), move || {
                volumes.delete(&id, secret.as_deref())?;
                Ok(proto::DeleteVolumeResponse {})
            }))
        };
        self.dispatcher.call("DeleteVolume", &id, request, plan).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<proto::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<proto::ValidateVolumeCapabilitiesResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let id = request.get_ref().volume_id.clone();
        let plan = |request: proto::ValidateVolumeCapabilitiesRequest| {
            let id = decode::required("volume_id", &request.volume_id)?.to_owned();
            if request.volume_capabilities.is_empty() {
                return Err(Error::Missing("volume_capabilities"));
            }
            Ok(Work::new(format!("validate {id}"), lane_of(&id), move || validate(&volumes, &id, request)))
        };
        self.dispatcher.call("ValidateVolumeCapabilities", &id, request, plan).await
    }

    async fn list_volumes(
        &self,
        request: Request<proto::ListVolumesRequest>,
    ) -> Result<Response<proto::ListVolumesResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let plan = |request: proto::ListVolumesRequest| {
            let limit = decode::page_size(request.max_entries)?;
            let guard = format!("list from {}", request.starting_token);
            Ok(Work::new(guard, "lists", move || {
                let page = volumes.list(&request.starting_token, limit)?;
                let entry = |volume: &Volume| list_volumes_response::Entry {
                    volume: Some(encode_volume(volume)),
                    status: Some(list_volumes_response::VolumeStatus::default()),
                };
                Ok(proto::ListVolumesResponse {
                    entries: page.volumes.iter().map(entry).collect(),
                    next_token: page.next.unwrap_or_default(),
                })
            }))
        };
        self.dispatcher.call("ListVolumes", "", request, plan).await
    }

    async fn controller_get_volume(
        &self,
        request: Request<proto::ControllerGetVolumeRequest>,
    ) -> Result<Response<proto::ControllerGetVolumeResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let id = request.get_ref().volume_id.clone();
        let plan = |request: proto::ControllerGetVolumeRequest| {
            let id = decode::required("volume_id", &request.volume_id)?.to_owned();
            Ok(Work::new(format!("get {id}"), lane_of(&id), move || {
                let handle = VolumeHandle::parse(&id).ok_or_else(|| volumes::not_found(&id))?;
                let volume = Volume::new(handle, &volumes.find(&id)?);
                Ok(proto::ControllerGetVolumeResponse {
                    volume: Some(encode_volume(&volume)),
                    status: Some(proto::controller_get_volume_response::VolumeStatus::default()),
                })
            }))
        };
        self.dispatcher.call("ControllerGetVolume", &id, request, plan).await
    }

    async fn get_capacity(
        &self,
        request: Request<proto::GetCapacityRequest>,
    ) -> Result<Response<proto::GetCapacityResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let plan = |request: proto::GetCapacityRequest| {
            let settings = volumes.settings.get();
            // A question about no export in particular is about the default one; without one there is no answer but 0.
            let none = request.parameters.is_empty() && settings.default_export.is_none();
            let export =
                if none { None } else { Some(Parameters::parse(&request.parameters, &settings)?.export) };
            let lane = export.as_ref().map(ToString::to_string).unwrap_or_default();
            // Each question is its own: many may be asked at once.
            let guard = format!("capacity {lane} {}", crate::linux::unique());
            Ok(Work::new(guard, lane, move || {
                let available = export.map_or(Ok(0), |export| volumes.capacity_of(&export))?;
                Ok(proto::GetCapacityResponse { available_capacity: signed(available), ..Default::default() })
            }))
        };
        self.dispatcher.call("GetCapacity", "", request, plan).await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<proto::ControllerExpandVolumeRequest>,
    ) -> Result<Response<proto::ControllerExpandVolumeResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let id = request.get_ref().volume_id.clone();
        let plan = |request: proto::ControllerExpandVolumeRequest| {
            let id = decode::required("volume_id", &request.volume_id)?.to_owned();
            let range = request.capacity_range.as_ref().ok_or(Error::Missing("capacity_range"))?;
            let range = decode::capacity_range(Some(range))?;
            let secret = decode::secret_options(&request.secrets);
            Ok(Work::new(id.clone(), lane_of(&id), move || {
                let capacity_bytes = signed(volumes.expand(&id, range, secret.as_deref())?);
                // The node has nothing to do: a directory has no size of its own.
                Ok(proto::ControllerExpandVolumeResponse { capacity_bytes, node_expansion_required: false })
            }))
        };
        self.dispatcher.call("ControllerExpandVolume", &id, request, plan).await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<proto::ControllerModifyVolumeRequest>,
    ) -> Result<Response<proto::ControllerModifyVolumeResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let id = request.get_ref().volume_id.clone();
        let plan = |request: proto::ControllerModifyVolumeRequest| {
            let id = decode::required("volume_id", &request.volume_id)?.to_owned();
            let change = Change::parse(&request.mutable_parameters)?;
            let secret = decode::secret_options(&request.secrets);
            Ok(Work::new(id.clone(), lane_of(&id), move || {
                volumes.modify(&id, change, secret.as_deref())?;
                Ok(proto::ControllerModifyVolumeResponse {})
            }))
        };
        self.dispatcher.call("ControllerModifyVolume", &id, request, plan).await
    }

    async fn create_snapshot(
        &self,
        request: Request<proto::CreateSnapshotRequest>,
    ) -> Result<Response<proto::CreateSnapshotResponse>, Status> {
        self.take_snapshot(request).await
    }

    async fn delete_snapshot(
        &self,
        request: Request<proto::DeleteSnapshotRequest>,
    ) -> Result<Response<proto::DeleteSnapshotResponse>, Status> {
        self.remove_snapshot(request).await
    }

    async fn list_snapshots(
        &self,
        request: Request<proto::ListSnapshotsRequest>,
    ) -> Result<Response<proto::ListSnapshotsResponse>, Status> {
        self.show_snapshots(request).await
    }

    async fn get_snapshot(
        &self,
        request: Request<proto::GetSnapshotRequest>,
    ) -> Result<Response<proto::GetSnapshotResponse>, Status> {
        self.show_snapshot(request).await
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<proto::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<proto::ControllerGetCapabilitiesResponse>, Status> {
        let capability = |kind: rpc::Type| proto::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        };
        let capabilities = CAPABILITIES.map(capability).to_vec();
        respond("ControllerGetCapabilities", proto::ControllerGetCapabilitiesResponse { capabilities })
    }
}

/// The lane of a call that names its volume by handle. A text that is no handle needs no server.
fn lane_of(id: &str) -> String {
    VolumeHandle::parse(id).map_or_else(|| "no export".to_owned(), |handle| handle.export.to_string())
}

fn new_volume(request: proto::CreateVolumeRequest, volumes: &Volumes) -> Result<NewVolume> {
    decode::required("name", &request.name)?;
    // One volume, one export mount in the controller: the options of the first capability, after those of the secret.
    let capability = decode::capabilities(&request.volume_capabilities)?.swap_remove(0);
    let settings = volumes.settings.get();
    let parameters = Parameters::parse(&request.parameters, &settings)?;
    let export = settings.resolve(&parameters.export)?;
    let secret = decode::secret_options(&request.secrets);
    let flags: Vec<String> = secret.iter().cloned().chain(capability.mount_flags).collect();
    let (options, _) = export.options(&flags)?;
    Ok(NewVolume {
        change: Change::parse(&request.mutable_parameters)?,
        capacity: decode::capacity_range(request.capacity_range.as_ref())?,
        name: request.name,
        source: decode::source(request.volume_content_source)?,
        parameters,
        export,
        options,
        secret,
    })
}

fn validate(
    volumes: &Volumes,
    id: &str,
    request: proto::ValidateVolumeCapabilitiesRequest,
) -> Result<proto::ValidateVolumeCapabilitiesResponse> {
    let handle = VolumeHandle::parse(id).ok_or_else(|| volumes::not_found(id))?;
    let record = volumes.find(id)?;
    let mut reasons: Vec<String> = Vec::new();
    reasons.extend(decode::capabilities(&request.volume_capabilities).err().map(|error| error.to_string()));
    if !request.volume_context.is_empty() {
        let given = VolumeContext::parse(&request.volume_context)?;
        let own = context_of(&handle, &record);
        if (&given.export, &given.sub_dir, given.direct_mount)
            != (&own.export, &own.sub_dir, own.direct_mount)
        {
            reasons.push("the volume context is not the one this volume was made with".to_owned());
        }
    }
    let confirmed = reasons.is_empty().then(|| Confirmed {
        volume_context: request.volume_context,
        volume_capabilities: request.volume_capabilities,
        ..Default::default()
    });
    Ok(proto::ValidateVolumeCapabilitiesResponse { confirmed, message: reasons.join("; ") })
}
