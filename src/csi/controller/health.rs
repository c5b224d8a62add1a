//! The calls about the health of volumes, as the controller sees it. Each look has a short deadline of its own, so a dead server
//! delays no answer for long.

use std::sync::Arc;
use std::time::Duration;

use tonic::Request;
use tracing::Span;

use super::{Answer, Controller, lane_of};
use crate::csi::call::deadline::Deadline;
use crate::csi::call::lane::Lane;
use crate::csi::call::look::Look;
use crate::csi::decode;
use crate::csi::encode::encode_health;
use crate::csi::proto;
use crate::csi::status::CallError;
use crate::volume::controller::health::SickVolumes;
use crate::volume::controller::list::{LARGEST_PAGE, listed};
use crate::volume::error::Error;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::share::health::{Finding, Trouble};

/// How long one call may look at the volumes of exports that answer. After that it gives out what it has, and a token.
const TIME: Duration = Duration::from_secs(4);

impl Controller {
    /// ControllerGetVolumeHealth.
    pub(super) async fn volume_health(
        &self,
        request: Request<proto::ControllerGetVolumeHealthRequest>,
    ) -> Answer<proto::ControllerGetVolumeHealthResponse> {
        let rpc = "ControllerGetVolumeHealth";
        let work = async |request, deadline, span| self.look_at_volume(request, deadline, span).await;
        self.dispatcher.answer(rpc, request, |request| &request.volume_id, work).await
    }

    /// ControllerListVolumeHealth.
    pub(super) async fn list_volume_health(
        &self,
        request: Request<proto::ControllerListVolumeHealthRequest>,
    ) -> Answer<proto::ControllerListVolumeHealthResponse> {
        let rpc = "ControllerListVolumeHealth";
        let work = async |request, deadline, span| self.list_sick_volumes(request, deadline, span).await;
        self.dispatcher.answer(rpc, request, |_| "", work).await
    }

    async fn look_at_volume(
        &self,
        request: proto::ControllerGetVolumeHealthRequest,
        deadline: Deadline,
        span: Span,
    ) -> Result<proto::ControllerGetVolumeHealthResponse, CallError> {
        let id = decode::handle("volume_id", &request.volume_id)?;
        let secret = decode::secret_options(&request.secrets);
        let (volumes, own) = (Arc::clone(&self.volumes), id.clone());
        let lane = lane_of(&self.volumes, &id);
        let look = move || volumes.health(&own, secret.as_deref());
        let found = self.dispatcher.look(&lane, deadline, &span, look).await?.findings();
        let volume_health = Some(encode_health(id, &found, Trouble::for_all_nodes));
        Ok(proto::ControllerGetVolumeHealthResponse { volume_health })
    }

    /// The volumes with which something is wrong, after the one that the token names. If an export does not answer, the call fails:
    /// a list without its volumes would look as if they were well.
    async fn list_sick_volumes(
        &self,
        request: proto::ControllerListVolumeHealthRequest,
        deadline: Deadline,
        span: Span,
    ) -> Result<proto::ControllerListVolumeHealthResponse, CallError> {
        let limit = match decode::page_size(request.max_entries)? {
            0 => LARGEST_PAGE,
            limit => limit.min(LARGEST_PAGE),
        };
        let settings = self.volumes.settings.get();
        let exports = self.volumes.known_exports(&settings);
        let mut last = match request.starting_token.as_str() {
            "" => None,
            token => Some(VolumeHandle::parse(token).ok_or(Error::BadToken)?),
        };
        let first = last.as_ref().map(|handle| listed(&exports, &handle.export)).transpose()?;
        let mut entries = Vec::new();
        let mut more = false;
        for export in exports.into_iter().filter(|id| first.as_ref().is_none_or(|first| id >= first)) {
            if entries.len() >= limit || deadline.waited() >= TIME && last.is_some() {
                more = true;
                break;
            }
            let lane = Lane::of_export(&settings, Some(&export));
            let after = last
                .as_ref()
                .filter(|handle| handle.export.is_same_place(&export))
                .map(|handle| handle.key.clone());
            let (volumes, left) = (Arc::clone(&self.volumes), limit - entries.len());
            let time = TIME.saturating_sub(deadline.waited());
            let look = move || volumes.sick_volumes(&export, after.as_ref(), left, time);
            let sick: SickVolumes = match self.dispatcher.look(&lane, deadline, &span, look).await? {
                Look::Seen(sick) => sick,
                Look::Silent(finding) => return Err(CallError::Silent(finding.message)),
            };
            let encode = |(handle, found): &(VolumeHandle, Vec<Finding>)| {
                encode_health(handle.to_string(), found, Trouble::for_all_nodes)
            };
            entries.extend(sick.volumes.iter().map(encode));
            last = sick.last.or(last);
            more = sick.more;
            if more {
                break;
            }
        }
        let next_token = last.filter(|_| more).map(|handle| handle.to_string()).unwrap_or_default();
        Ok(proto::ControllerListVolumeHealthResponse { entries, next_token })
    }
}
