//! The Node service. It needs no staging: each export is mounted once for all volumes on it, and a publish is one bind
//! mount.

mod health;
mod publish;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::call::dispatcher::{Dispatcher, respond};
use super::call::guard::Guard;
use super::call::lane::Lane;
use super::call::work::Work;
use super::decode;
use super::encode::encode_usage;
use super::proto;
use super::proto::node_service_capability::{Rpc, Type, rpc};
use crate::volume::error::Result;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::node::publish::Publisher;

/// Publishes volumes on this node.
#[derive(Clone)]
pub struct Node {
    /// Runs the calls.
    pub dispatcher: Dispatcher,
    /// Does their work.
    pub publisher: Arc<Publisher>,
    /// The name of this node in the cluster.
    pub node_id: String,
}

const CAPABILITIES: [rpc::Type; 5] = [
    rpc::Type::GetVolumeStats,
    rpc::Type::SingleNodeMultiWriter,
    rpc::Type::VolumeMountGroup,
    rpc::Type::GetVolumeHealth,
    rpc::Type::GetStorageHealth,
];

#[tonic::async_trait]
impl proto::node_server::Node for Node {
    async fn node_publish_volume(
        &self,
        request: Request<proto::NodePublishVolumeRequest>,
    ) -> Result<Response<proto::NodePublishVolumeResponse>, Status> {
        self.publish(request).await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<proto::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<proto::NodeUnpublishVolumeResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        let plan = |request| plan_unpublish(&request, publisher);
        self.dispatcher.call("NodeUnpublishVolume", request, |request| &request.volume_id, plan).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<proto::NodeGetVolumeStatsRequest>,
    ) -> Result<Response<proto::NodeGetVolumeStatsResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        let plan = |request| plan_stats(&request, publisher);
        self.dispatcher.call("NodeGetVolumeStats", request, |request| &request.volume_id, plan).await
    }

    async fn node_get_volume_health(
        &self,
        request: Request<proto::NodeGetVolumeHealthRequest>,
    ) -> Result<Response<proto::NodeGetVolumeHealthResponse>, Status> {
        self.volume_health(request).await
    }

    async fn node_get_storage_health(
        &self,
        request: Request<proto::NodeGetStorageHealthRequest>,
    ) -> Result<Response<proto::NodeGetStorageHealthResponse>, Status> {
        self.storage_health(request).await
    }

    async fn node_get_capabilities(
        &self,
        _: Request<proto::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<proto::NodeGetCapabilitiesResponse>, Status> {
        let capability = |kind: rpc::Type| proto::NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        };
        let capabilities = CAPABILITIES.map(capability).to_vec();
        respond("NodeGetCapabilities", proto::NodeGetCapabilitiesResponse { capabilities })
    }

    async fn node_get_info(
        &self,
        _: Request<proto::NodeGetInfoRequest>,
    ) -> Result<Response<proto::NodeGetInfoResponse>, Status> {
        // There is no topology, because every node can reach an export. There is no limit either, because one more volume
        // needs no further NFS mount.
        respond(
            "NodeGetInfo",
            proto::NodeGetInfoResponse { node_id: self.node_id.clone(), ..Default::default() },
        )
    }
}

/// An unpublish has places of its own, so that a dead server cannot keep a pod from going away.
fn plan_unpublish(
    request: &proto::NodeUnpublishVolumeRequest,
    publisher: Arc<Publisher>,
) -> Result<Work<proto::NodeUnpublishVolumeResponse>> {
    let id = decode::handle("volume_id", &request.volume_id)?;
    let target = PathBuf::from(decode::required("target_path", &request.target_path)?);
    Ok(Work::new(Guard::Unpublish(target.clone()), Lane::Unpublish, move |_| {
        publisher.unpublish(&id, &target)?;
        Ok(proto::NodeUnpublishVolumeResponse {})
    }))
}

fn plan_stats(
    request: &proto::NodeGetVolumeStatsRequest,
    publisher: Arc<Publisher>,
) -> Result<Work<proto::NodeGetVolumeStatsResponse>> {
    let id = decode::handle("volume_id", &request.volume_id)?;
    let path = PathBuf::from(decode::required("volume_path", &request.volume_path)?);
    let lane = lane_of_published(&publisher, &id, &path);
    Ok(Work::new(Guard::Look(path.clone()), lane, move |_| {
        let usage = encode_usage(&publisher.stats(&id, &path)?);
        Ok(proto::NodeGetVolumeStatsResponse { usage })
    }))
}

/// The lane of a call about a published volume. The handle of a volume that was written by hand can be any text; then the
/// mount table says where the volume is.
fn lane_of_published(publisher: &Publisher, id: &str, path: &Path) -> Lane {
    match VolumeHandle::parse(id) {
        Some(handle) => Lane::of_export(&publisher.volumes.settings.get(), Some(&handle.export)),
        None => publisher.export_at(path).map_or(Lane::Local, |export| Lane::at(&export)),
    }
}
