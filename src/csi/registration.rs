//! kubelet's plugin registration: it finds a socket in its directory, asks who serves there, and says what came of it.
//! The node service answers for itself, so no second container (node-driver-registrar) is needed.

use std::path::{Path, PathBuf};

use tonic::{Request, Response, Status};

use super::registration_proto::registration_server;
use super::registration_proto::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};

/// Version of CSI, as kubelet compares it: by its major number.
const CSI_VERSION: &str = "1.0.0";

/// What kubelet is told.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The name that PersistentVolumes use.
    pub driver_name: String,
    /// The socket of the Node service, by the path that kubelet sees it at.
    pub socket: PathBuf,
}

impl Registration {
    /// Where kubelet, whose directory this is, looks for the registration.
    ///
    /// The name has an `@` for a reason. gRPC for Go, with which kubelet calls, sends the path as the request's
    /// `:authority`, its slashes written `%2F`. The HTTP library here takes a `%` in an authority only where a user's name
    /// may be, before an `@`, and refuses the call otherwise.
    #[must_use]
    pub fn place(&self, kubelet_dir: &Path) -> PathBuf {
        kubelet_dir.join("plugins_registry").join(format!("csi@{}.sock", self.driver_name))
    }
}

#[tonic::async_trait]
impl registration_server::Registration for Registration {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.driver_name.clone(),
            endpoint: self.socket.display().to_string(),
            supported_versions: vec![CSI_VERSION.to_owned()],
        }))
    }

    /// kubelet tries again by itself after a failure, so that it is told is enough.
    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!(driver = self.driver_name, "kubelet has registered the driver");
        } else {
            tracing::error!(
                driver = self.driver_name,
                error = status.error,
                "kubelet refuses the driver; is --endpoint a path that kubelet sees, below its own directory?"
            );
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
