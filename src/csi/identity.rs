//! The Identity service: who the driver is and what it offers.

use tonic::{Request, Response, Status};

use super::dispatcher::respond;
use super::proto;
use super::proto::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};

/// Served by controller and node alike.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The name that StorageClasses and PersistentVolumes use.
    pub driver_name: String,
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

    /// Answers that the process works. No server is asked: a dead one is no reason to restart the driver.
    async fn probe(&self, _: Request<proto::ProbeRequest>) -> Result<Response<proto::ProbeResponse>, Status> {
        respond("Probe", proto::ProbeResponse { ready: Some(true) })
    }
}
