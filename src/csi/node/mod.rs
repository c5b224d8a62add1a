//! The Node service. It needs no staging: each export is mounted once for all volumes on it, and a publish is one bind
//! mount.

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
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeHandle;
use crate::volume::node::publish::Publisher;
use crate::volume::node::request::PublishRequest;
use crate::volume::policy::access_mode::AccessMode;
use crate::volume::policy::volume_context::VolumeContext;

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

const CAPABILITIES: [rpc::Type; 3] =
    [rpc::Type::GetVolumeStats, rpc::Type::SingleNodeMultiWriter, rpc::Type::VolumeMountGroup];

#[tonic::async_trait]
impl proto::node_server::Node for Node {
    async fn node_publish_volume(
        &self,
        request: Request<proto::NodePublishVolumeRequest>,
    ) -> Result<Response<proto::NodePublishVolumeResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        let plan = |request| plan_publish(request, publisher);
        self.dispatcher.call("NodePublishVolume", request, |request| &request.volume_id, plan).await
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

fn plan_publish(
    request: proto::NodePublishVolumeRequest,
    publisher: Arc<Publisher>,
) -> Result<Work<proto::NodePublishVolumeResponse>> {
    let wanted = publish_request(request)?;
    let guard = match wanted.access {
        AccessMode::SingleNodeSingleWriter => Guard::PublishOnce(wanted.volume_id.clone()),
        _ => Guard::Publish(wanted.target.clone()),
    };
    let settings = publisher.volumes.settings.get();
    let lane = Lane::of_export(&settings, wanted.export(&settings).as_ref());
    let attempt = publisher.begin(&wanted.target);
    Ok(Work::new(guard, lane, move |_| {
        publisher.publish(&wanted.locate(&publisher.volumes)?, &attempt)?;
        Ok(proto::NodePublishVolumeResponse {})
    }))
}

fn publish_request(request: proto::NodePublishVolumeRequest) -> Result<PublishRequest> {
    let volume_id = decode::handle("volume_id", &request.volume_id)?;
    decode::required("target_path", &request.target_path)?;
    let capability = request.volume_capability.as_ref().ok_or(Error::Missing("volume_capability"))?;
    let capability = decode::capability(capability)?;
    Ok(PublishRequest {
        volume_id,
        target: PathBuf::from(request.target_path),
        read_only: request.readonly,
        context: VolumeContext::parse(&request.volume_context)?,
        access: capability.access,
        mount_flags: capability.mount_flags,
        group: capability.group,
        secret_options: decode::secret_options(&request.secrets),
    })
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
        let usage = encode_usage(&publisher.stats(&path)?);
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
