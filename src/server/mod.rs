//! Serves the CSI services on a socket until the process is told to stop.

mod authority;
pub mod scrape;
mod surveys;

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use authority::AnyAuthority;

use crate::csi::call::dispatcher::{Dispatcher, blocking};
use crate::csi::controller::Controller;
use crate::csi::identity::Identity;
use crate::csi::node::Node;
use crate::csi::proto::controller_server::ControllerServer;
use crate::csi::proto::group_controller_server::GroupControllerServer;
use crate::csi::proto::identity_server::IdentityServer;
use crate::csi::proto::node_server::NodeServer;
use crate::csi::registration::Registration;
use crate::csi::registration_proto::registration_server::RegistrationServer;
use crate::metrics::Metrics;
use crate::volume::node::publish::Publisher;
use crate::volume::share::mounts::Exports;
use crate::volume::volumes::Volumes;

/// What is served besides Identity.
pub enum Role {
    /// The Controller service.
    Controller(Controller),
    /// The Node service.
    Node(Node),
}

impl Role {
    /// The exports that the service has mounted.
    #[must_use]
    pub fn exports(&self) -> &Arc<Exports> {
        match self {
            Self::Controller(controller) => &controller.volumes.exports,
            Self::Node(node) => &node.publisher.volumes.exports,
        }
    }
}

/// How often the server looks for exports that are not used any more.
const RELEASE_ROUND: Duration = Duration::from_secs(5);
/// How often the controller looks for what others have left on the exports of the configuration.
const SWEEP_ROUND: Duration = Duration::from_hours(1);
/// How often it looks for exports that do not answer.
const SILENCE_ROUND: Duration = Duration::from_secs(1);
/// How long the server waits after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// The largest request, in bytes. Requests have a few kilobytes; a larger one would only take up memory.
const LARGEST_REQUEST: usize = 1 << 20;

/// Serves on `listener`, which must be non-blocking, until `shutdown` resolves, and then until the calls under way
/// are answered.
pub async fn run(
    listener: UnixListener,
    identity: Identity,
    role: Role,
    metrics: Option<SocketAddr>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let incoming =
        UnixListenerStream::new(tokio::net::UnixListener::from_std(listener)?).then(async |stream| {
            if stream.is_err() {
                // Without a pause, a process that has no file descriptor left would try again all the time.
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
            stream.map(AnyAuthority::new)
        });
    let dispatcher = match &role {
        Role::Controller(controller) => &controller.dispatcher,
        Role::Node(node) => &node.dispatcher,
    };
    let rounds = [
        tokio::spawn(release_idle_exports(Arc::clone(role.exports()))),
        tokio::spawn(look_for_silent_exports(dispatcher.clone())),
    ];
    let sweeps = match &role {
        Role::Controller(controller) => tokio::spawn(sweep_exports(Arc::clone(&controller.volumes))),
        Role::Node(node) => tokio::spawn(resume_ephemeral_volumes(Arc::clone(&node.publisher))),
    };
    let measured = metrics.map_or_else(Vec::new, |address| measure(address, &role));
    let server = Server::builder().add_service(IdentityServer::new(identity));
    let server = match role {
        Role::Controller(controller) => {
            let group = GroupControllerServer::new(controller.clone());
            server
                .add_service(ControllerServer::new(controller).max_decoding_message_size(LARGEST_REQUEST))
                .add_service(group.max_decoding_message_size(LARGEST_REQUEST))
        }
        Role::Node(node) => {
            server.add_service(NodeServer::new(node).max_decoding_message_size(LARGEST_REQUEST))
        }
    };
    let result = server.serve_with_incoming_shutdown(incoming, shutdown).await;
    rounds.iter().chain([&sweeps]).chain(&measured).for_each(JoinHandle::abort);
    Ok(result?)
}

/// Serves the metrics of a service at an address. For a controller, makes the surveys that they contain.
fn measure(address: SocketAddr, role: &Role) -> Vec<JoinHandle<()>> {
    match role {
        Role::Node(node) => {
            vec![tokio::spawn(scrape::serve(address, Arc::new(Metrics::of_node(node.clone()))))]
        }
        Role::Controller(controller) => {
            let surveys = Arc::default();
            let metrics = Metrics::of_controller(controller.clone(), Arc::clone(&surveys));
            vec![
                tokio::spawn(scrape::serve(address, Arc::new(metrics))),
                tokio::spawn(surveys::make(controller.clone(), surveys)),
            ]
        }
    }
}

/// Tells kubelet about the node service at `listener`, which must be non-blocking.
pub async fn register(listener: UnixListener, registration: Registration) -> anyhow::Result<()> {
    let incoming = UnixListenerStream::new(tokio::net::UnixListener::from_std(listener)?);
    Ok(Server::builder()
        .add_service(RegistrationServer::new(registration))
        .serve_with_incoming(incoming)
        .await?)
}

/// Looks at the exports of the configuration for what other processes and nodes have left.
async fn sweep_exports(volumes: Arc<Volumes>) {
    loop {
        let volumes = Arc::clone(&volumes);
        let look = move || {
            volumes
                .resume(|error| tracing::warn!(%error, "cannot look now for deleted volumes of an export"));
        };
        let _ = blocking(look).await;
        tokio::time::sleep(SWEEP_ROUND).await;
    }
}

async fn resume_ephemeral_volumes(publisher: Arc<Publisher>) {
    if let Some(Err(error)) = blocking(move || publisher.resume()).await {
        tracing::error!(%error, "cannot read what is known of the ephemeral volumes of this node");
    }
}

async fn release_idle_exports(exports: Arc<Exports>) {
    loop {
        tokio::time::sleep(RELEASE_ROUND).await;
        let exports = Arc::clone(&exports);
        if let Some(Err(failures)) = blocking(move || exports.release_idle(Instant::now())).await {
            for error in failures {
                tracing::warn!(%error, "cannot unmount an export that is not used any more");
            }
        }
    }
}

/// The places log each export that falls silent.
async fn look_for_silent_exports(dispatcher: Dispatcher) {
    loop {
        tokio::time::sleep(SILENCE_ROUND).await;
        dispatcher.places().look_for_silence();
    }
}
