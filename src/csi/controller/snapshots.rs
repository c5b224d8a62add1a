//! The plans of the calls for one snapshot.

#![expect(clippy::needless_pass_by_value, reason = "every plan takes its request, so that all have one form")]

use std::sync::Arc;

use super::lane_of;
use crate::csi::call::guard::Guard;
use crate::csi::call::lane::Lane;
use crate::csi::call::work::Work;
use crate::csi::decode;
use crate::csi::encode::encode_snapshot;
use crate::csi::proto;
use crate::volume::controller::snapshot_take::SnapshotRequest;
use crate::volume::error::Result;
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::policy::parameters::SnapshotParameters;
use crate::volume::volumes::Volumes;

pub(super) fn take(
    request: proto::CreateSnapshotRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::CreateSnapshotResponse>> {
    let sources = vec![decode::handle("source_volume_id", &request.source_volume_id)?];
    let new = snapshot_request(Kind::Single, request.name, sources, &request.secrets, &request.parameters)?;
    let lane = Lane::of_export(&volumes.settings.get(), Some(&new.export_id()?)).of_copies();
    Ok(Work::new(Guard::TakeSnapshot(new.name.clone()), lane, move |deadline| {
        let snapshot = Some(encode_snapshot(&volumes.take_snapshot(&new, deadline.left_for_copies())?));
        Ok(proto::CreateSnapshotResponse { snapshot })
    }))
}

pub(super) fn delete(
    request: proto::DeleteSnapshotRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::DeleteSnapshotResponse>> {
    let id = decode::handle("snapshot_id", &request.snapshot_id)?;
    let secret = decode::secret_options(&request.secrets);
    Ok(Work::new(Guard::DeleteSnapshot(id.clone()), lane_of(&volumes, &id), move |_| {
        volumes.delete_snapshot(&id, secret.as_deref())?;
        Ok(proto::DeleteSnapshotResponse {})
    }))
}

pub(super) fn get(
    request: proto::GetSnapshotRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::GetSnapshotResponse>> {
    let id = decode::handle("snapshot_id", &request.snapshot_id)?;
    let secret = decode::secret_options(&request.secrets);
    Ok(Work::new(Guard::None, lane_of(&volumes, &id), move |_| {
        let snapshot = Some(encode_snapshot(&volumes.find_snapshot(&id, secret.as_deref())?));
        Ok(proto::GetSnapshotResponse { snapshot })
    }))
}

/// Reads what CreateSnapshot or CreateVolumeGroupSnapshot asks for. The sources have been checked.
pub(super) fn snapshot_request(
    kind: Kind,
    name: String,
    sources: Vec<String>,
    secrets: &decode::Map,
    parameters: &decode::Map,
) -> Result<SnapshotRequest> {
    decode::handle("name", &name)?;
    let parameters = SnapshotParameters::parse(parameters)?;
    let options: Vec<String> =
        decode::secret_options(secrets).into_iter().chain(parameters.mount_options).collect();
    let mount_options = (!options.is_empty()).then(|| options.join(","));
    Ok(SnapshotRequest { kind, name, sources, export: parameters.export, mount_options })
}
