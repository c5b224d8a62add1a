//! The metrics of a service, in the text format of Prometheus. docs/METRICS.md has all of them.
//!
//! Whoever asks for them never waits for an NFS server: they contain what the process remembers, and what the kernel counts (`/proc`).
//! What has to be asked from a server comes from surveys, which are made in the background.

mod exports;
mod process;
mod volumes;

use std::sync::Arc;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

use crate::csi::call::dispatcher::Dispatcher;
use crate::csi::controller::Controller;
use crate::csi::node::Node;
use crate::volume::controller::survey::Surveys;
use crate::volume::volumes::Volumes;

pub use exports::MOST_INLINE;

/// What the name of every metric begins with.
const PREFIX: &str = "nfs_subdir_csi";
/// The content type of the text.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// All metrics of a service.
#[derive(Debug)]
pub struct Metrics(Registry);

/// The service that is measured.
#[derive(Clone)]
enum Service {
    Controller(Controller, Arc<Surveys>),
    Node(Node),
}

impl Service {
    fn volumes(&self) -> &Volumes {
        match self {
            Self::Controller(controller, _) => &controller.volumes,
            Self::Node(node) => &node.publisher.volumes,
        }
    }

    fn dispatcher(&self) -> &Dispatcher {
        match self {
            Self::Controller(controller, _) => &controller.dispatcher,
            Self::Node(node) => &node.dispatcher,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Controller(..) => "controller",
            Self::Node(_) => "node",
        }
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Metrics {
    /// The metrics of a controller, whose surveys somebody makes.
    #[must_use]
    pub fn of_controller(controller: Controller, surveys: Arc<Surveys>) -> Self {
        Self::of(Service::Controller(controller, surveys))
    }

    /// The metrics of a node service.
    #[must_use]
    pub fn of_node(node: Node) -> Self {
        Self::of(Service::Node(node))
    }

    fn of(service: Service) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        service.dispatcher().tally().register(&mut registry);
        registry.register_collector(Box::new(exports::OfExports(service.clone())));
        registry.register_collector(Box::new(process::OfProcess(service)));
        Self(registry)
    }

    /// The present values. Reads a file in `/proc`, and sends no request to a server.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}
