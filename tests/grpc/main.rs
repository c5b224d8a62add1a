//! The services over a real socket, with real directories. Only mounts are faked, so these tests need no root.
//! `tests/kernel` tests the same services with real mounts.

mod advisories;
#[path = "../support/canary.rs"]
mod canary;
mod controller;
mod csi_driver_nfs;
mod flags;
mod health;
mod identity;
mod metrics;
mod node;
mod reach;
mod registration;
#[path = "../support/scrape.rs"]
mod scrape;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod transport;
mod whole_shares;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use canary::Canary;
use nfs_subdir_csi::csi::call::dispatcher::Dispatcher;
use nfs_subdir_csi::csi::identity::Identity;
use nfs_subdir_csi::csi::{controller::Controller, node::Node};
use nfs_subdir_csi::linux::Mounter;
use nfs_subdir_csi::linux::fake::FakeMounter;
use nfs_subdir_csi::server::{self, Role};
use nfs_subdir_csi::volume::node::publish;
use nfs_subdir_csi::volume::policy::settings::{LiveSettings, Settings};
use nfs_subdir_csi::volume::share::mounts::Exports;
use nfs_subdir_csi::volume::volumes::Volumes;
use support::Client;
use tokio::sync::oneshot;

/// The parameters of a StorageClass for the export that [`Driver`] serves.
const PARAMETERS: [(&str, &str); 2] = [("server", "nas"), ("share", "/srv")];

/// A controller and a node service in this process, which share one export.
struct Driver {
    /// On the share and beside it. Dropped before the temporary directory, because it looks at its files then.
    _canary: Canary,
    temporary: tempfile::TempDir,
    mounter: Arc<FakeMounter>,
    settings: Arc<LiveSettings>,
    claims: Arc<controller::claims::FakeClaims>,
    controller: Client,
    node: Client,
    _stop: Vec<oneshot::Sender<()>>,
}

impl Driver {
    async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    /// Starts the services with a configuration.
    async fn start_with(settings: Settings) -> Self {
        Self::start_measured(settings, [None, None]).await
    }

    /// Starts the services with a configuration. The controller and the node service serve metrics at these addresses.
    async fn start_measured(settings: Settings, metrics: [Option<SocketAddr>; 2]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mounter = Arc::new(FakeMounter::default());
        for dir in ["share", "kubelet/pods"] {
            std::fs::create_dir_all(temporary.path().join(dir)).unwrap();
        }
        let canary = Canary::plant(&[temporary.path().join("share"), temporary.path().to_owned()]);
        mounter.serve("nas:/srv", &temporary.path().join("share"));
        let exports = Arc::new(Exports::new(mounter.clone(), Duration::from_mins(1)));
        let dispatcher = Dispatcher::new(Duration::from_secs(10));
        let settings = Arc::new(LiveSettings::new(settings));
        let claims = Arc::new(controller::claims::FakeClaims::default());
        let volumes = || Volumes {
            settings: Arc::clone(&settings),
            exports: Arc::clone(&exports),
            copies: Arc::default(),
            claims: claims.clone(),
        };
        let controller =
            Role::Controller(Controller { dispatcher: dispatcher.clone(), volumes: Arc::new(volumes()) });
        let kubelet_dir = temporary.path().join("kubelet").canonicalize().unwrap();
        let mounts = mounter.clone() as Arc<dyn Mounter>;
        let publisher = publish::Publisher::new(volumes(), mounts, kubelet_dir, "test.csi.dev", "node-1");
        let node = Role::Node(Node {
            dispatcher: dispatcher.clone(),
            publisher: Arc::new(publisher),
            node_id: "node-1".to_owned(),
        });

        let (controller, stop_controller) =
            serve(&temporary.path().join("controller.sock"), controller, &dispatcher, metrics[0]).await;
        let (node, stop_node) =
            serve(&temporary.path().join("node.sock"), node, &dispatcher, metrics[1]).await;
        let stop = vec![stop_controller, stop_node];
        Self { _canary: canary, temporary, mounter, settings, claims, controller, node, _stop: stop }
    }

    fn share(&self) -> PathBuf {
        self.temporary.path().join("share")
    }

    fn target(&self, name: &str) -> PathBuf {
        self.temporary.path().canonicalize().unwrap().join("kubelet/pods").join(name)
    }

    /// The mount points below the kubelet directory.
    fn published(&self) -> Vec<PathBuf> {
        let kubelet = self.target("");
        let table = self.mounter.table().unwrap();
        table
            .iter()
            .map(|mount| mount.mount_point.clone())
            .filter(|place| place.starts_with(&kubelet))
            .collect()
    }
}

/// Waits for what happens in the background.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 10 s: {what}");
}

async fn serve(
    socket: &Path,
    role: Role,
    dispatcher: &Dispatcher,
    metrics: Option<SocketAddr>,
) -> (Client, oneshot::Sender<()>) {
    let listener = nfs_subdir_csi::endpoint::bind(socket).unwrap();
    let (stop, stopped) = oneshot::channel();
    let identity = Identity { driver_name: "test.csi.dev".to_owned(), dispatcher: dispatcher.clone() };
    tokio::spawn(server::run(listener, identity, role, metrics, async {
        let _ = stopped.await;
    }));
    (Client::connect(socket).await, stop)
}
