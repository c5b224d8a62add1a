//! The plugin registration of kubelet: kubelet finds a socket in its directory, asks which driver serves there, and reports
//! whether it has registered the driver. The node service answers for itself, so that no second container
//! (node-driver-registrar) is needed.

use std::path::{Path, PathBuf};

use tonic::{Request, Response, Status};

use super::registration_proto::registration_server;
use super::registration_proto::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};

/// The version of CSI. kubelet only compares the major number.
const CSI_VERSION: &str = "1.0.0";

/// What kubelet learns about the driver.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The name that PersistentVolumes use.
    pub driver_name: String,
    /// The socket of the Node service, as a path that kubelet can use.
    pub socket: PathBuf,
}

impl Registration {
    /// The socket at which kubelet looks for the registration. `kubelet_dir` is kubelet's directory.
    ///
    /// The name of the socket contains an `@` for a reason. kubelet uses gRPC for Go, which sends the path as the
    /// `:authority` of a request and writes `%2F` for each slash. The HTTP library of this driver accepts a `%` in an
    /// authority only before an `@`, where the name of a user can be, and refuses the call otherwise.
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

    /// kubelet reports whether it has registered the driver. After a failure it tries again by itself, so this only logs
    /// the report.
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
