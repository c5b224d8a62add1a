//! Serves the CSI services on a socket until told to stop.

mod authority;

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use authority::AnyAuthority;

use crate::csi::controller::Controller;
use crate::csi::dispatcher::blocking;
use crate::csi::identity::Identity;
use crate::csi::node::Node;
use crate::csi::proto::controller_server::ControllerServer;
use crate::csi::proto::group_controller_server::GroupControllerServer;
use crate::csi::proto::identity_server::IdentityServer;
use crate::csi::proto::node_server::NodeServer;
use crate::csi::registration::Registration;
use crate::csi::registration_proto::registration_server::RegistrationServer;
use crate::volume::share::mounts::Exports;

/// What is served besides Identity.
pub enum Role {
    /// The Controller service.
    Controller(Controller),
    /// The Node service.
    Node(Node),
}

/// How often unused exports are looked for.
const ROUND: Duration = Duration::from_secs(5);

/// Serves on `listener`, which must be non-blocking, until `shutdown` resolves, and then until the calls under way
/// are answered.
pub async fn run(
    listener: UnixListener,
    identity: Identity,
    role: Role,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let incoming = UnixListenerStream::new(tokio::net::UnixListener::from_std(listener)?)
        .map(|stream| stream.map(AnyAuthority::new));
    let exports = match &role {
        Role::Controller(controller) => Arc::clone(&controller.volumes.exports),
        Role::Node(node) => Arc::clone(&node.publisher.volumes.exports),
    };
    if let Role::Controller(controller) = &role {
        let volumes = Arc::clone(&controller.volumes);
        tokio::spawn(blocking(move || {
            for error in volumes.resume() {
                tracing::warn!(%error, "cannot look now for deleted volumes of an export");
            }
        }));
    }
    let rounds = tokio::spawn(release_idle_exports(exports));
    let server = Server::builder().add_service(IdentityServer::new(identity));
    let server = match role {
        Role::Controller(controller) => {
            let group = GroupControllerServer::new(controller.clone());
            server.add_service(ControllerServer::new(controller)).add_service(group)
        }
        Role::Node(node) => server.add_service(NodeServer::new(node)),
    };
    let result = server.serve_with_incoming_shutdown(incoming, shutdown).await;
    rounds.abort();
    Ok(result?)
}

/// Makes the node service known to kubelet at `listener`, which must be non-blocking.
pub async fn register(listener: UnixListener, registration: Registration) -> anyhow::Result<()> {
    let incoming = UnixListenerStream::new(tokio::net::UnixListener::from_std(listener)?);
    Ok(Server::builder()
        .add_service(RegistrationServer::new(registration))
        .serve_with_incoming(incoming)
        .await?)
}

async fn release_idle_exports(exports: Arc<Exports>) {
    loop {
        tokio::time::sleep(ROUND).await;
        let exports = Arc::clone(&exports);
        if let Some(Err(failures)) = blocking(move || exports.release_idle(Instant::now())).await {
            for error in failures {
                tracing::warn!(%error, "an unused export could not be let go");
            }
        }
    }
}
