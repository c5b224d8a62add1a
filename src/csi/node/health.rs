//! The calls about the health of volumes and exports, as this node sees it. Each look has a short deadline of its own, so a dead
//! server delays no answer for long.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;
use tonic::{Request, Response, Status};
use tracing::Span;

use super::{Node, lane_of_published};
use crate::csi::call::deadline::Deadline;
use crate::csi::call::lane::Lane;
use crate::csi::decode;
use crate::csi::encode::{encode_health, encode_storage_health};
use crate::csi::proto;
use crate::csi::status::CallError;
use crate::volume::name::export::Export;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::policy::settings::ResolvedExport;
use crate::volume::share::health::{Finding, Trouble};

impl Node {
    /// NodeGetVolumeHealth.
    pub(super) async fn volume_health(
        &self,
        request: Request<proto::NodeGetVolumeHealthRequest>,
    ) -> Result<Response<proto::NodeGetVolumeHealthResponse>, Status> {
        let rpc = "NodeGetVolumeHealth";
        let work = async |request, deadline, span| self.look_at_volume(request, deadline, span).await;
        self.dispatcher.answer(rpc, request, |request| &request.volume_id, work).await
    }

    /// NodeGetStorageHealth.
    pub(super) async fn storage_health(
        &self,
        request: Request<proto::NodeGetStorageHealthRequest>,
    ) -> Result<Response<proto::NodeGetStorageHealthResponse>, Status> {
        let rpc = "NodeGetStorageHealth";
        let work = async |_, deadline, span| Ok(self.look_at_exports(deadline, &span).await);
        self.dispatcher.answer(rpc, request, |_| "", work).await
    }

    async fn look_at_volume(
        &self,
        request: proto::NodeGetVolumeHealthRequest,
        deadline: Deadline,
        span: Span,
    ) -> Result<proto::NodeGetVolumeHealthResponse, CallError> {
        let id = decode::handle("volume_id", &request.volume_id)?;
        let path = Some(request.volume_publish_path).filter(|path| !path.is_empty()).map(PathBuf::from);
        let lane = if let Some(path) = &path {
            lane_of_published(&self.publisher, &id, path)
        } else {
            let export = VolumeHandle::parse(&id).map(|handle| handle.export);
            Lane::of_export(&self.publisher.volumes.settings.get(), export.as_ref())
        };
        let (publisher, own) = (Arc::clone(&self.publisher), id.clone());
        let look = move || {
            let at_target = path.map_or(Ok(None), |path| publisher.health_at(&own, &path))?;
            at_target.map_or_else(|| publisher.health_of(&own), Ok)
        };
        let found = self.dispatcher.look(&lane, deadline, &span, look).await?.findings();
        let volume_health = Some(encode_health(id, &found, Trouble::for_this_node));
        Ok(proto::NodeGetVolumeHealthResponse { volume_health })
    }

    /// Looks at the exports that this process has mounted, and at those that did not answer when they were needed. Of the others
    /// nothing is known.
    async fn look_at_exports(&self, deadline: Deadline, span: &Span) -> proto::NodeGetStorageHealthResponse {
        let volumes = &self.publisher.volumes;
        let settings = volumes.settings.get();
        let known = volumes.known_exports(&settings);
        let mut needed: Vec<(Lane, ResolvedExport)> = known
            .iter()
            .filter_map(|id| settings.resolve(id).ok())
            .map(|export| (Lane::at(&export), export))
            .collect();
        let silent: Vec<Lane> =
            self.dispatcher.places().silent_exports().into_iter().map(Lane::Export).collect();
        needed.retain(|(lane, export)| volumes.exports.has_mounted(export) || silent.contains(lane));
        // Of an export that was never reached, only where it is is known.
        for lane in silent {
            if let Lane::Export(source) = &lane
                && needed.iter().all(|(other, _)| *other != lane)
                && let Ok(export) = Export::new(&source.server, &source.share)
            {
                needed.push((lane, ResolvedExport::mounted(export)));
            }
        }
        let mut looks = JoinSet::new();
        for (lane, export) in needed {
            let (dispatcher, publisher) = (self.dispatcher.clone(), Arc::clone(&self.publisher));
            let span = span.clone();
            looks.spawn(async move {
                let look = move || publisher.health_of_export(&export);
                dispatcher.look(&lane, deadline, &span, look).await
            });
        }
        let mut found: BTreeMap<Trouble, Vec<String>> = BTreeMap::new();
        while let Some(look) = looks.join_next().await {
            let findings = match look {
                Ok(Ok(look)) => look.findings(),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot tell the health of an export");
                    continue;
                }
                // The task has panicked, which the log has already.
                Err(_) => continue,
            };
            for Finding { trouble, message } in findings {
                found.entry(trouble).or_default().push(message);
            }
        }
        proto::NodeGetStorageHealthResponse {
            backend_health: found
                .into_iter()
                .map(|(trouble, messages)| encode_storage_health(trouble, messages))
                .collect(),
        }
    }
}
