//! The Node service. There is no staging: the export is mounted once for all volumes on it, and a publish is one
//! bind.

use std::path::PathBuf;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::call::{Bridge, Job};
use super::decode;
use super::proto;
use super::proto::node_service_capability::{Rpc, Type, rpc};
use super::proto::volume_usage::Unit;
use crate::linux::dir::Usage;
use crate::volume::parameters::VolumeContext;
use crate::volume::publish::{Node as Publisher, Publish};
use crate::volume::{AccessMode, Error, Export, Result, SubDir, VolumeHandle, provision};

/// Publishes volumes on this node.
#[derive(Clone)]
pub struct Node {
    /// How calls are run.
    pub bridge: Bridge,
    /// What they do.
    pub publisher: Arc<Publisher>,
    /// The name of this node in the cluster.
    pub node_id: String,
}

const CAPABILITIES: [rpc::Type; 2] = [rpc::Type::GetVolumeStats, rpc::Type::SingleNodeMultiWriter];

#[tonic::async_trait]
impl proto::node_server::Node for Node {
    async fn node_publish_volume(
        &self,
        request: Request<proto::NodePublishVolumeRequest>,
    ) -> Result<Response<proto::NodePublishVolumeResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        let id = request.get_ref().volume_id.clone();
        let plan = |request| {
            let wanted = Wanted::decode(request)?;
            Ok(Job::new(wanted.guard(), wanted.lane(), move || {
                publisher.publish(&wanted.locate(&publisher)?)?;
                Ok(proto::NodePublishVolumeResponse {})
            }))
        };
        self.bridge.call("NodePublishVolume", &id, request, plan).await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<proto::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<proto::NodeUnpublishVolumeResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        let id = request.get_ref().volume_id.clone();
        let plan = |request: proto::NodeUnpublishVolumeRequest| {
            let id = decode::required("volume_id", &request.volume_id)?;
            let target = PathBuf::from(decode::required("target_path", &request.target_path)?);
            // A lane of its own: publishes that wait for a dead server may not keep a pod from going away.
            let lane = format!("unpublish from {}", lane_of(id));
            Ok(Job::new(guard_of(id, &request.target_path), lane, move || {
                publisher.unpublish(&target)?;
                Ok(proto::NodeUnpublishVolumeResponse {})
            }))
        };
        self.bridge.call("NodeUnpublishVolume", &id, request, plan).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<proto::NodeGetVolumeStatsRequest>,
    ) -> Result<Response<proto::NodeGetVolumeStatsResponse>, Status> {
        let publisher = Arc::clone(&self.publisher);
        let id = request.get_ref().volume_id.clone();
        let plan = |request: proto::NodeGetVolumeStatsRequest| {
            let id = decode::required("volume_id", &request.volume_id)?;
            let path = PathBuf::from(decode::required("volume_path", &request.volume_path)?);
            Ok(Job::new(format!("stats {}", guard_of(id, &request.volume_path)), lane_of(id), move || {
                let usage = publisher.stats(&path)?;
                Ok(proto::NodeGetVolumeStatsResponse { usage: encode(&usage), ..Default::default() })
            }))
        };
        self.bridge.call("NodeGetVolumeStats", &id, request, plan).await
    }

    async fn node_get_capabilities(
        &self,
        _: Request<proto::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<proto::NodeGetCapabilitiesResponse>, Status> {
        let capability = |kind: rpc::Type| proto::NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        };
        let capabilities = CAPABILITIES.map(capability).to_vec();
        Ok(Response::new(proto::NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(
        &self,
        _: Request<proto::NodeGetInfoRequest>,
    ) -> Result<Response<proto::NodeGetInfoResponse>, Status> {
        // No topology: an export is reached from every node. No limit: a further volume costs no further mount.
        Ok(Response::new(proto::NodeGetInfoResponse { node_id: self.node_id.clone(), ..Default::default() }))
    }
}

/// A publish as it is asked for.
struct Wanted {
    volume_id: String,
    target: String,
    context: VolumeContext,
    capability: decode::Capability,
}

impl Wanted {
    fn decode(request: proto::NodePublishVolumeRequest) -> Result<Self> {
        decode::required("volume_id", &request.volume_id)?;
        decode::required("target_path", &request.target_path)?;
        let capability = request.volume_capability.as_ref().ok_or(Error::Missing("volume_capability"))?;
        let mut capability = decode::capability(capability)?;
        capability.flags.read_only |= request.readonly;
        Ok(Self {
            context: VolumeContext::parse(&request.volume_context)?,
            volume_id: request.volume_id,
            target: request.target_path,
            capability,
        })
    }

    /// Pods may publish one volume at several targets at the same time; one that may be at a single target only is
    /// guarded as a whole, so that of two the second sees the first.
    fn guard(&self) -> String {
        match self.capability.access {
            AccessMode::SingleNodeSingleWriter => self.volume_id.clone(),
            _ => guard_of(&self.volume_id, &self.target),
        }
    }

    fn lane(&self) -> String {
        self.context.export.as_ref().map_or_else(|| lane_of(&self.volume_id), Export::to_string)
    }

    /// Where the volume is: what the volume context says, or else what its record says.
    fn locate(&self, publisher: &Publisher) -> Result<Publish> {
        let (export, sub_dir): (Export, SubDir) = match (&self.context.export, &self.context.sub_dir) {
            (Some(export), Some(sub_dir)) => (export.clone(), sub_dir.clone()),
            (Some(_), None) => return Err(Error::Missing("volume attribute `subDir`")),
            (None, _) => {
                let (export, record) = provision::find_by_text(&publisher.exports, &self.volume_id)?;
                (export, record.sub_dir)
            }
        };
        Ok(Publish {
            export,
            sub_dir,
            target: PathBuf::from(&self.target),
            options: self.capability.options.clone(),
            flags: self.capability.flags,
            access: self.capability.access,
        })
    }
}

fn guard_of(volume_id: &str, path: &str) -> String {
    format!("{volume_id} at {path}")
}

/// The lane of a call that names its volume by handle. A handle that is not the driver's stands for itself.
fn lane_of(id: &str) -> String {
    VolumeHandle::parse(id).map_or_else(|| id.to_owned(), |handle| handle.export.to_string())
}

fn encode(usage: &Usage) -> Vec<proto::VolumeUsage> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let usage_of = |unit: Unit, total: u64, used: u64, available: u64| proto::VolumeUsage {
        unit: unit.into(),
        total: number(total),
        used: number(used),
        available: number(available),
    };
    vec![
        usage_of(Unit::Bytes, usage.total_bytes, usage.used_bytes, usage.available_bytes),
        usage_of(Unit::Inodes, usage.total_inodes, usage.used_inodes, usage.available_inodes),
    ]
}
