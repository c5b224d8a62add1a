//! The Identity service: the name of the driver and what it offers.

use tonic::{Request, Response, Status};

use super::call::dispatcher::{Dispatcher, respond};
use super::proto;
use super::proto::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};

/// The controller and the node service both offer it.
#[derive(Clone)]
pub struct Identity {
    /// The name that StorageClasses and PersistentVolumes use.
    pub driver_name: String,
    /// The calls of this process, whose state [`proto::identity_server::Identity::probe`] reports.
    pub dispatcher: Dispatcher,
}

#[tonic::async_trait]
impl proto::identity_server::Identity for Identity {
    async fn get_plugin_info(
        &self,
        _: Request<proto::GetPluginInfoRequest>,
    ) -> Result<Response<proto::GetPluginInfoResponse>, Status> {
        respond(
            "GetPluginInfo",
            proto::GetPluginInfoResponse {
                name: self.driver_name.clone(),
                vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
                ..Default::default()
            },
        )
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<proto::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<proto::GetPluginCapabilitiesResponse>, Status> {
        let [controller, group] = [service::Type::ControllerService, service::Type::GroupControllerService]
            .map(|kind| Type::Service(Service { r#type: kind.into() }));
        let online = VolumeExpansion { r#type: volume_expansion::Type::Online.into() };
        let capabilities = [controller, group, Type::VolumeExpansion(online)]
            .map(|kind| proto::PluginCapability { r#type: Some(kind) })
            .to_vec();
        respond("GetPluginCapabilities", proto::GetPluginCapabilitiesResponse { capabilities })
    }

    /// Says whether the service works. No server is asked, because a restart of the driver does not help against a dead
    /// server. An unpublish needs no server, so if no unpublish ends any more, it is the process that does not work.
    async fn probe(&self, _: Request<proto::ProbeRequest>) -> Result<Response<proto::ProbeResponse>, Status> {
        if self.dispatcher.places().is_stuck() {
            let message = "no NodeUnpublishVolume call has ended for a minute, and no further one can begin";
            tracing::error!(message);
            return Err(Status::failed_precondition(message));
        }
        respond("Probe", proto::ProbeResponse { ready: Some(true) })
    }
}
