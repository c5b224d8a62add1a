//! The snapshot calls of the Controller service.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::controller::Controller;
use super::dispatcher::Work;
use super::encode::encode_snapshot;
use super::proto;
use super::proto::list_snapshots_response::Entry;
use super::{deadline, decode};
use crate::volume::controller::snapshot::Snapshot;
use crate::volume::controller::snapshot_take::SnapshotRequest;
use crate::volume::error::{Error, Result};
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::name::snapshot_handle::SnapshotHandle;
use crate::volume::policy::parameters::SnapshotParameters;
use crate::volume::share::csi_driver_nfs_archive::CsiDriverNfsSnapshotHandle;

impl Controller {
    pub(super) async fn take_snapshot(
        &self,
        request: Request<proto::CreateSnapshotRequest>,
    ) -> Result<Response<proto::CreateSnapshotResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let name = request.get_ref().name.clone();
        let timeout = deadline::time_left(request.metadata(), self.dispatcher.timeout());
        let plan = |request: proto::CreateSnapshotRequest| {
            decode::required("source_volume_id", &request.source_volume_id)?;
            let sources = vec![request.source_volume_id];
            let new =
                snapshot_request(Kind::Single, request.name, sources, &request.secrets, &request.parameters)?;
            // A lane of its own: calls that wait for long copies may not keep short ones out.
            let lane = format!("snapshots of {}", new.export_id()?);
            Ok(Work::new(format!("snapshot {}", new.name), lane, move || {
                let snapshot = Some(encode_snapshot(&volumes.take_snapshot(&new, timeout)?));
                Ok(proto::CreateSnapshotResponse { snapshot })
            }))
        };
        self.dispatcher.call("CreateSnapshot", &name, request, plan).await
    }

    pub(super) async fn remove_snapshot(
        &self,
        request: Request<proto::DeleteSnapshotRequest>,
    ) -> Result<Response<proto::DeleteSnapshotResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let id = request.get_ref().snapshot_id.clone();
        let plan = |request: proto::DeleteSnapshotRequest| {
            let id = decode::required("snapshot_id", &request.snapshot_id)?.to_owned();
            let secret = decode::secret_options(&request.secrets);
            Ok(Work::new(format!("delete snapshot {id}"), lane_of(&id), move || {
                volumes.delete_snapshot(&id, secret.as_deref())?;
                Ok(proto::DeleteSnapshotResponse {})
            }))
        };
        self.dispatcher.call("DeleteSnapshot", &id, request, plan).await
    }

    pub(super) async fn show_snapshots(
        &self,
        request: Request<proto::ListSnapshotsRequest>,
    ) -> Result<Response<proto::ListSnapshotsResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let plan = |request: proto::ListSnapshotsRequest| {
            let limit = decode::page_size(request.max_entries)?;
            let secret = decode::secret_options(&request.secrets);
            let guard = format!("list snapshots {}", crate::linux::unique());
            Ok(Work::new(guard, "lists", move || {
                let (secret, source) = (secret.as_deref(), request.source_volume_id.as_str());
                let (snapshots, next) = if request.snapshot_id.is_empty() {
                    let page = volumes.list_snapshots(&request.starting_token, limit, source, secret)?;
                    (page.snapshots, page.next)
                } else {
                    // Not to be there is no error here (CSI specification, ListSnapshots).
                    match volumes.find_snapshot(&request.snapshot_id, secret) {
                        Err(Error::NotFound(_)) => (Vec::new(), None),
                        found => (vec![found?], None),
                    }
                };
                let fits = |snapshot: &&Snapshot| source.is_empty() || snapshot.source == source;
                let entry = |snapshot: &Snapshot| Entry { snapshot: Some(encode_snapshot(snapshot)) };
                Ok(proto::ListSnapshotsResponse {
                    entries: snapshots.iter().filter(fits).map(entry).collect(),
                    next_token: next.unwrap_or_default(),
                })
            }))
        };
        self.dispatcher.call("ListSnapshots", "", request, plan).await
    }

    pub(super) async fn show_snapshot(
        &self,
        request: Request<proto::GetSnapshotRequest>,
    ) -> Result<Response<proto::GetSnapshotResponse>, Status> {
        let volumes = Arc::clone(&self.volumes);
        let id = request.get_ref().snapshot_id.clone();
        let plan = |request: proto::GetSnapshotRequest| {
            let id = decode::required("snapshot_id", &request.snapshot_id)?.to_owned();
            let secret = decode::secret_options(&request.secrets);
            let guard = format!("get snapshot {id} {}", crate::linux::unique());
            Ok(Work::new(guard, lane_of(&id), move || {
                let snapshot = Some(encode_snapshot(&volumes.find_snapshot(&id, secret.as_deref())?));
                Ok(proto::GetSnapshotResponse { snapshot })
            }))
        };
        self.dispatcher.call("GetSnapshot", &id, request, plan).await
    }
}

/// What CreateSnapshot, or CreateVolumeGroupSnapshot, asks for.
pub(super) fn snapshot_request(
    kind: Kind,
    name: String,
    sources: Vec<String>,
    secrets: &decode::Map,
    parameters: &decode::Map,
) -> Result<SnapshotRequest> {
    decode::required("name", &name)?;
    let parameters = SnapshotParameters::parse(parameters)?;
    let options: Vec<String> =
        decode::secret_options(secrets).into_iter().chain(parameters.mount_options).collect();
    let mount_options = (!options.is_empty()).then(|| options.join(","));
    Ok(SnapshotRequest { kind, name, sources, export: parameters.export, mount_options })
}

/// The lane of a call that names its snapshot by handle. A text that is no handle needs no server.
fn lane_of(id: &str) -> String {
    SnapshotHandle::parse(id)
        .map(|handle| handle.export.to_string())
        .or_else(|| CsiDriverNfsSnapshotHandle::parse(id).map(|handle| handle.export.to_string()))
        .unwrap_or_else(|| "no export".to_owned())
}
