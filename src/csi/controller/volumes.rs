//! The plans of the calls for one volume.

#![expect(clippy::needless_pass_by_value, reason = "every plan takes its request, so that all have one form")]

use std::sync::Arc;

use super::lane_of;
use crate::csi::call::guard::Guard;
use crate::csi::call::lane::Lane;
use crate::csi::call::work::Work;
use crate::csi::decode;
use crate::csi::encode::{encode_volume, signed};
use crate::csi::proto;
use crate::csi::proto::validate_volume_capabilities_response::Confirmed;
use crate::volume::controller::create::NewVolume;
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeHandle;
use crate::volume::policy::parameters::{Change, Parameters};
use crate::volume::policy::volume_context::VolumeContext;
use crate::volume::share::whole_share;
use crate::volume::volumes::{Volume, Volumes, not_found};

pub(super) fn create(
    request: proto::CreateVolumeRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::CreateVolumeResponse>> {
    let new = new_volume(request, &volumes)?;
    let handle = new.handle()?;
    let lane = Lane::of_export(&volumes.settings.get(), Some(&handle.export));
    let lane = if new.source.is_some() { lane.of_copies() } else { lane };
    Ok(Work::new(Guard::Volume(handle.to_string()), lane, move |deadline| {
        let volume = Some(encode_volume(&volumes.create(&new, deadline.left_for_copies())?));
        Ok(proto::CreateVolumeResponse { volume })
    }))
}

fn new_volume(request: proto::CreateVolumeRequest, volumes: &Volumes) -> Result<NewVolume> {
    decode::handle("name", &request.name)?;
    // The controller mounts an export once for one volume: with the options of the secret, then those of the first capability.
    let capability = decode::capabilities(&request.volume_capabilities)?.swap_remove(0);
    let settings = volumes.settings.get();
    let mut parameters = Parameters::parse(&request.parameters, &settings)?;
    let export = settings.resolve(&parameters.export)?;
    whole_share::refuse_volumes_on(&settings, &export)?;
    parameters.export = export.id_for(&capability.mount_flags)?;
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

pub(super) fn delete(
    request: proto::DeleteVolumeRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::DeleteVolumeResponse>> {
    let id = decode::handle("volume_id", &request.volume_id)?;
    let secret = decode::secret_options(&request.secrets);
    Ok(Work::new(Guard::Volume(id.clone()), lane_of(&volumes, &id), move |_| {
        volumes.delete(&id, secret.as_deref())?;
        Ok(proto::DeleteVolumeResponse {})
    }))
}

pub(super) fn get(
    request: proto::ControllerGetVolumeRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::ControllerGetVolumeResponse>> {
    let id = decode::handle("volume_id", &request.volume_id)?;
    Ok(Work::new(Guard::None, lane_of(&volumes, &id), move |_| {
        let handle = VolumeHandle::parse(&id).ok_or_else(|| not_found(&id))?;
        let volume = Volume::new(handle, &volumes.find(&id)?);
        Ok(proto::ControllerGetVolumeResponse {
            volume: Some(encode_volume(&volume)),
            status: Some(proto::controller_get_volume_response::VolumeStatus::default()),
        })
    }))
}

pub(super) fn expand(
    request: proto::ControllerExpandVolumeRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::ControllerExpandVolumeResponse>> {
    let id = decode::handle("volume_id", &request.volume_id)?;
    let range = request.capacity_range.as_ref().ok_or(Error::Missing("capacity_range"))?;
    let range = decode::capacity_range(Some(range))?;
    let secret = decode::secret_options(&request.secrets);
    Ok(Work::new(Guard::Volume(id.clone()), lane_of(&volumes, &id), move |_| {
        let capacity_bytes = signed(volumes.expand(&id, range, secret.as_deref())?);
        // A directory has no size of its own, so the node has nothing to do.
        Ok(proto::ControllerExpandVolumeResponse { capacity_bytes, node_expansion_required: false })
    }))
}

pub(super) fn modify(
    request: proto::ControllerModifyVolumeRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::ControllerModifyVolumeResponse>> {
    let id = decode::handle("volume_id", &request.volume_id)?;
    let change = Change::parse(&request.mutable_parameters)?;
    let secret = decode::secret_options(&request.secrets);
    Ok(Work::new(Guard::Volume(id.clone()), lane_of(&volumes, &id), move |_| {
        volumes.modify(&id, change, secret.as_deref())?;
        Ok(proto::ControllerModifyVolumeResponse {})
    }))
}

pub(super) fn validate(
    request: proto::ValidateVolumeCapabilitiesRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::ValidateVolumeCapabilitiesResponse>> {
    let id = decode::handle("volume_id", &request.volume_id)?;
    if request.volume_capabilities.is_empty() {
        return Err(Error::Missing("volume_capabilities"));
    }
    let given = VolumeContext::parse(&request.volume_context)?;
    let lane = match &given.export {
        Some(export) => Lane::of_export(&volumes.settings.get(), Some(export)),
        None => lane_of(&volumes, &id),
    };
    Ok(Work::new(Guard::None, lane, move |_| compare(&volumes, &id, &given, request)))
}

/// Confirms what fits the volume with this handle, or says what does not.
fn compare(
    volumes: &Volumes,
    id: &str,
    given: &VolumeContext,
    request: proto::ValidateVolumeCapabilitiesRequest,
) -> Result<proto::ValidateVolumeCapabilitiesResponse> {
    let mut reasons: Vec<String> = Vec::new();
    reasons.extend(decode::capabilities(&request.volume_capabilities).err().map(|error| error.to_string()));
    reasons.extend(volumes.compare(id, given)?);
    let confirmed = reasons.is_empty().then(|| Confirmed {
        volume_context: request.volume_context,
        volume_capabilities: request.volume_capabilities,
        ..Default::default()
    });
    Ok(proto::ValidateVolumeCapabilitiesResponse { confirmed, message: reasons.join("; ") })
}
