//! NodePublishVolume: the publish, and the question whether what was published before is still good.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};
use tracing::Span;

use super::Node;
use crate::csi::call::deadline::Deadline;
use crate::csi::call::guard::Guard;
use crate::csi::call::lane::Lane;
use crate::csi::call::look::Look;
use crate::csi::call::work::Work;
use crate::csi::decode;
use crate::csi::proto;
use crate::csi::status::CallError;
use crate::volume::error::{Error, Result};
use crate::volume::node::publish::{IfPublished, Published};
use crate::volume::node::request::PublishRequest;
use crate::volume::policy::access_mode::AccessMode;
use crate::volume::policy::volume_context::VolumeContext;

/// How long a repeated publish asks the server whether what is published is stale. If the server does not answer, the volume counts
/// as published: kubelet repeats publishes of pods that run, and these must not depend on a server.
const ASK_WHETHER_STALE: Duration = Duration::from_secs(2);

impl Node {
    /// NodePublishVolume.
    pub(super) async fn publish(
        &self,
        request: Request<proto::NodePublishVolumeRequest>,
    ) -> Result<Response<proto::NodePublishVolumeResponse>, Status> {
        let work = async |request, deadline, span| self.publish_volume(request, deadline, span).await;
        self.dispatcher.answer("NodePublishVolume", request, |request| &request.volume_id, work).await
    }

    async fn publish_volume(
        &self,
        request: proto::NodePublishVolumeRequest,
        deadline: Deadline,
        span: Span,
    ) -> Result<proto::NodePublishVolumeResponse, CallError> {
        let wanted = Arc::new(publish_request(request)?);
        let guard = match wanted.access {
            AccessMode::SingleNodeSingleWriter => Guard::PublishOnce(wanted.volume_id.clone()),
            _ => Guard::Publish(wanted.target.clone()),
        };
        let settings = self.publisher.volumes.settings.get();
        let lane = Lane::of_export(&settings, wanted.export(&settings).as_ref());
        let attempt = Arc::new(self.publisher.begin(&wanted.target));
        let publish = |there| {
            let (publisher, wanted, attempt) =
                (Arc::clone(&self.publisher), Arc::clone(&wanted), Arc::clone(&attempt));
            let work = move |_| publisher.publish(&wanted.locate(&publisher.volumes)?, &attempt, there);
            self.dispatcher.run(Work::new(guard.clone(), lane.clone(), work), deadline, span.clone())
        };
        if publish(IfPublished::Keep).await? == Published::Before {
            let (publisher, target) = (Arc::clone(&self.publisher), wanted.target.clone());
            let is_stale = move || publisher.is_stale(&target);
            let asked = self.dispatcher.look(&lane, deadline.within(ASK_WHETHER_STALE), &span, is_stale);
            if matches!(asked.await, Ok(Look::Seen(true))) {
                publish(IfPublished::Replace).await?;
            }
        }
        Ok(proto::NodePublishVolumeResponse {})
    }
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
