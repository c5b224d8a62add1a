//! The Node service. There is no staging: the export is mounted once for all volumes on it, and a publish is one
//! bind.

use std::path::PathBuf;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::decode;
use super::dispatcher::{Dispatcher, Work, respond};
use super::proto;
use super::proto::node_service_capability::{Rpc, Type, rpc};
use super::proto::volume_usage::Unit;
use crate::linux::dir::Usage;
use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::node::publish::{Directory, Publish, Publisher};
use crate::volume::policy::access_mode::AccessMode;
use crate::volume::policy::settings::{InlineServers, Settings};
use crate::volume::policy::volume_context::VolumeContext;
use crate::volume::volumes::not_found;

/// Publishes volumes on this node.
#[derive(Clone)]
pub struct Node {
    /// How calls are run.
    pub dispatcher: Dispatcher,
    /// What they do.
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
        let id = request.get_ref().volume_id.clone();
        let plan = |request| {
            let wanted = PublishRequest::decode(request)?;
            Ok(Work::new(wanted.guard(), wanted.lane(), move || {
                publisher.publish(&wanted.locate(&publisher)?)?;
                Ok(proto::NodePublishVolumeResponse {})
            }))
        };
        self.dispatcher.call("NodePublishVolume", &id, request, plan).await
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
            let guard = guard_of(id, &request.target_path);
            let id = id.to_owned();
            Ok(Work::new(guard, lane, move || {
                publisher.unpublish(&id, &target)?;
                Ok(proto::NodeUnpublishVolumeResponse {})
            }))
        };
        self.dispatcher.call("NodeUnpublishVolume", &id, request, plan).await
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
            Ok(Work::new(format!("stats {}", guard_of(id, &request.volume_path)), lane_of(id), move || {
                let usage = publisher.stats(&path)?;
                Ok(proto::NodeGetVolumeStatsResponse { usage: encode(&usage), ..Default::default() })
            }))
        };
        self.dispatcher.call("NodeGetVolumeStats", &id, request, plan).await
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
        // No topology: an export is reached from every node. No limit: a further volume costs no further mount.
        respond(
            "NodeGetInfo",
            proto::NodeGetInfoResponse { node_id: self.node_id.clone(), ..Default::default() },
        )
    }
}

/// A publish as it is asked for.
struct PublishRequest {
    volume_id: String,
    target: String,
    read_only: bool,
    context: VolumeContext,
    capability: decode::Capability,
    secret_options: Option<String>,
}

impl PublishRequest {
    fn decode(request: proto::NodePublishVolumeRequest) -> Result<Self> {
        decode::required("volume_id", &request.volume_id)?;
        decode::required("target_path", &request.target_path)?;
        let capability = request.volume_capability.as_ref().ok_or(Error::Missing("volume_capability"))?;
        Ok(Self {
            capability: decode::capability(capability)?,
            context: VolumeContext::parse(&request.volume_context)?,
            secret_options: decode::secret_options(&request.secrets),
            read_only: request.readonly,
            volume_id: request.volume_id,
            target: request.target_path,
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
        self.context.export.as_ref().map_or_else(|| lane_of(&self.volume_id), ExportRef::to_string)
    }

    /// Where the volume is: what the volume context says, or else what its record says.
    fn locate(&self, publisher: &Publisher) -> Result<Publish> {
        let settings = publisher.volumes.settings.get();
        let context = &self.context;
        let (export, directory) = match (&context.export, &context.sub_dir) {
            _ if context.ephemeral => {
                (self.ephemeral_export(&settings)?, Directory::Ephemeral(self.volume_id.clone()))
            }
            (Some(export), Some(sub_dir)) => (export.clone(), directory_at(sub_dir, context.direct_mount)),
            (Some(_), None) => return Err(Error::Missing("volume attribute `subDir`")),
            (None, _) => {
                let record = publisher.volumes.find(&self.volume_id)?;
                let handle =
                    VolumeHandle::parse(&self.volume_id).ok_or_else(|| not_found(&self.volume_id))?;
                (handle.export, directory_at(&record.sub_dir, record.direct_mount))
            }
        };
        let export = settings.resolve(&export)?;
        let more = [&context.mount_options, &self.secret_options].into_iter().flatten();
        let all: Vec<&String> = self.capability.mount_flags.iter().chain(more).collect();
        let (options, mut flags) = export.options(&all)?;
        flags.read_only |= self.read_only || self.capability.access.is_read_only();
        Ok(Publish {
            export,
            directory,
            target: PathBuf::from(&self.target),
            options,
            flags,
            access: self.capability.access,
            group: self.capability.group,
        })
    }

    /// The export of a pod's own volume. A tenant has chosen it, so it must be one that the administrator has named, or
    /// has listed for inline use; that any server may be used inline is meant for StorageClasses.
    fn ephemeral_export(&self, settings: &Settings) -> Result<ExportRef> {
        if !settings.ephemeral_volumes {
            let reason =
                "ephemeral volumes are switched off in the driver's configuration (ephemeralVolumes)";
            return Err(Error::Precondition(reason.to_owned()));
        }
        let export = self.context.export.clone().or_else(|| settings.default_export());
        let export = export.ok_or(Error::Missing("volume attribute `export`"))?;
        if matches!(export, ExportRef::Inline(_)) && settings.inline_servers == InlineServers::Any {
            let reason = "a pod's own volume may name a server only if inline.servers in the driver's configuration lists it";
            return Err(Error::Precondition(reason.to_owned()));
        }
        Ok(export)
    }
}

fn directory_at(sub_dir: &SubDir, direct: bool) -> Directory {
    if direct { Directory::Direct(sub_dir.clone()) } else { Directory::At(sub_dir.clone()) }
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
