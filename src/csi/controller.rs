//! The Controller service.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::call::{Bridge, Job};
use super::decode;
use super::proto;
use super::proto::controller_service_capability::{Rpc, Type, rpc};
use super::proto::validate_volume_capabilities_response::Confirmed;
use crate::volume::parameters::{Parameters, VolumeContext};
use crate::volume::provision::{self, NewVolume, Volume};
use crate::volume::{Error, Exports, Result, VolumeHandle, delete};

/// Makes and deletes volumes.
#[derive(Clone)]
pub struct Controller {
    /// How calls are run.
    pub bridge: Bridge,
    /// Where volumes are made.
    pub exports: Arc<Exports>,
}

const CAPABILITIES: [rpc::Type; 2] = [rpc::Type::CreateDeleteVolume, rpc::Type::SingleNodeMultiWriter];

#[tonic::async_trait]
impl proto::controller_server::Controller for Controller {
    async fn create_volume(
        &self,
        request: Request<proto::CreateVolumeRequest>,
    ) -> Result<Response<proto::CreateVolumeResponse>, Status> {
        let exports = Arc::clone(&self.exports);
        let name = request.get_ref().name.clone();
        let plan = |request| {
            let new = new_volume(request)?;
            let handle = new.handle()?;
            Ok(Job::new(handle.to_string(), handle.export.to_string(), move || {
                let volume = Some(encode(provision::create(&exports, &new)?));
                Ok(proto::CreateVolumeResponse { volume })
            }))
        };
        self.bridge.call("CreateVolume", &name, request, plan).await
    }

    async fn delete_volume(
        &self,
        request: Request<proto::DeleteVolumeRequest>,
    ) -> Result<Response<proto::DeleteVolumeResponse>, Status> {
        let exports = Arc::clone(&self.exports);
        let id = request.get_ref().volume_id.clone();
        let plan = |request: proto::DeleteVolumeRequest| {
            let id = decode::required("volume_id", &request.volume_id)?.to_owned();
            Ok(Job::new(id.clone(), lane_of(&id), move || {
                delete::delete(&exports, &id)?;
                Ok(proto::DeleteVolumeResponse {})
            }))
        };
        self.bridge.call("DeleteVolume", &id, request, plan).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<proto::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<proto::ValidateVolumeCapabilitiesResponse>, Status> {
        let exports = Arc::clone(&self.exports);
        let id = request.get_ref().volume_id.clone();
        let plan = |request: proto::ValidateVolumeCapabilitiesRequest| {
            let id = decode::required("volume_id", &request.volume_id)?.to_owned();
            if request.volume_capabilities.is_empty() {
                return Err(Error::Missing("volume_capabilities"));
            }
            Ok(Job::new(format!("validate {id}"), lane_of(&id), move || validate(&exports, &id, request)))
        };
        self.bridge.call("ValidateVolumeCapabilities", &id, request, plan).await
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<proto::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<proto::ControllerGetCapabilitiesResponse>, Status> {
        let capability = |kind: rpc::Type| proto::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        };
        let capabilities = CAPABILITIES.map(capability).to_vec();
        Ok(Response::new(proto::ControllerGetCapabilitiesResponse { capabilities }))
    }
}

/// The lane of a call that names its volume by handle. A handle of nobody's needs no server.
fn lane_of(id: &str) -> String {
    VolumeHandle::parse(id).map_or_else(|| "no export".to_owned(), |handle| handle.export.to_string())
}

fn new_volume(request: proto::CreateVolumeRequest) -> Result<NewVolume> {
    decode::required("name", &request.name)?;
    // One volume, one export mount in the controller: the options of the first capability.
    let capability = decode::capabilities(&request.volume_capabilities)?.swap_remove(0);
    if request.volume_content_source.is_some() {
        let reason = "this driver does not make volumes from snapshots or other volumes";
        return Err(Error::invalid("volume_content_source", reason));
    }
    if let Some(key) = request.mutable_parameters.keys().next() {
        return Err(Error::UnknownParameter { key: key.clone(), nearest: None });
    }
    Ok(NewVolume {
        parameters: Parameters::parse(&request.parameters)?,
        capacity: decode::capacity_range(request.capacity_range.as_ref())?,
        name: request.name,
        options: capability.options,
    })
}

fn encode(volume: Volume) -> proto::Volume {
    proto::Volume {
        volume_id: volume.handle.to_string(),
        volume_context: volume.context,
        capacity_bytes: i64::try_from(volume.capacity_bytes).unwrap_or(i64::MAX),
        ..Default::default()
    }
}

fn validate(
    exports: &Exports,
    id: &str,
    request: proto::ValidateVolumeCapabilitiesRequest,
) -> Result<proto::ValidateVolumeCapabilitiesResponse> {
    let (export, record) = provision::find_by_text(exports, id)?;
    let mut reasons: Vec<String> = Vec::new();
    reasons.extend(decode::capabilities(&request.volume_capabilities).err().map(|error| error.to_string()));
    if !request.volume_context.is_empty() {
        let context = VolumeContext::parse(&request.volume_context)?;
        if context != (VolumeContext { export: Some(export), sub_dir: Some(record.sub_dir) }) {
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
