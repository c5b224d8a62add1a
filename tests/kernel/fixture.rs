//! A controller and a node of the driver as processes, and a kubelet directory for them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto::controller_client::ControllerClient;
use nfs_subdir_csi::csi::proto::group_controller_client::GroupControllerClient;
use nfs_subdir_csi::csi::proto::{self, Volume};
use tokio::sync::{Mutex, MutexGuard};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::canary::Canary;
use super::mounts;
use super::server::{self, Restricted};
use super::support::{self, Client, Service};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_nfs-subdir-csi");

/// There is one NFS server and one mount table: whatever `--test-threads` says, tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// What a test wants otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Setup {
    /// Further arguments of both services.
    pub(crate) args: &'static [&'static str],
    /// The NFS versions that the server has; without any, all.
    pub(crate) versions: &'static [&'static str],
}

/// The services, on a share with nothing but canaries.
pub(crate) struct Driver {
    pub(crate) controller: Service,
    pub(crate) node: Service,
    controller_client: Client,
    node_client: Client,
    place: Place,
    args: &'static [&'static str],
}

impl Driver {
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub(crate) async fn start_with(setup: Setup) -> Self {
        let place = Place::take(setup.versions).await;
        let controller = start_controller(&place, setup.args);
        let node = start_node(&place, setup.args);
        let (controller_client, node_client) = (controller.client().await, node.client().await);
        Self { controller, node, controller_client, node_client, place, args: setup.args }
    }

    /// Starts the node service anew; the one before must have ended.
    pub(crate) async fn start_node_again(&mut self) {
        self.node = start_node(&self.place, self.args);
        self.node_client = self.node.client().await;
    }

    /// Starts the controller service anew; the one before must have ended.
    pub(crate) async fn start_controller_again(&mut self) {
        self.controller = start_controller(&self.place, self.args);
        self.controller_client = self.controller.client().await;
    }

    /// Makes a volume on `/share`.
    pub(crate) async fn create(&self, name: &str, parameters: &[(&str, &str)]) -> Volume {
        self.try_create(new_volume(name, parameters)).await.unwrap()
    }

    pub(crate) async fn try_create(&self, request: proto::CreateVolumeRequest) -> Result<Volume, Status> {
        let mut controller = self.controller_client.controller.clone();
        answer(controller.create_volume(request)).await.map(|response| response.volume.unwrap())
    }

    pub(crate) async fn delete(&self, volume: &Volume) -> Result<(), Status> {
        let mut controller = self.controller_client.controller.clone();
        answer(controller.delete_volume(support::delete(volume))).await.map(drop)
    }

    /// Publishes a volume for the pod, and returns the target path.
    pub(crate) async fn publish(&self, volume: &Volume, pod: &str, flags: &[&str]) -> PathBuf {
        let target = self.target(pod);
        self.try_publish(support::publish(volume, &target, flags)).await.unwrap();
        target
    }

    pub(crate) async fn try_publish(&self, request: proto::NodePublishVolumeRequest) -> Result<(), Status> {
        let mut node = self.node_client.node.clone();
        answer(node.node_publish_volume(request)).await.map(drop)
    }

    pub(crate) async fn unpublish(&self, volume: &Volume, target: &Path) -> Result<(), Status> {
        let mut node = self.node_client.node.clone();
        answer(node.node_unpublish_volume(support::unpublish(volume, target))).await.map(drop)
    }

    /// A client of the controller service.
    pub(crate) fn controller_client(&self) -> ControllerClient<Channel> {
        self.controller_client.controller.clone()
    }

    /// A client of the group controller service.
    pub(crate) fn group_client(&self) -> GroupControllerClient<Channel> {
        self.controller_client.group.clone()
    }

    /// The target path for a volume of this pod, below a directory that exists, as from kubelet.
    pub(crate) fn target(&self, pod: &str) -> PathBuf {
        self.place.target(pod)
    }

    /// The export mounts of the node service: NFS mounts that it sees and pods do not.
    pub(crate) fn export_mounts(&self) -> Vec<mounts::Mount> {
        let mut mounts = mounts::nfs(self.node.pid());
        mounts.retain(|mount| mount.place.starts_with(self.place.node_state()));
        mounts
    }

    /// Directories outside of any volume, which no test may change: two on `/share`, and one of the guest's own that
    /// is not exported with it.
    pub(crate) fn canaries(&self) -> &[PathBuf] {
        self.place.canary.places()
    }

    /// A directory of this test alone.
    pub(crate) fn dir(&self) -> &Path {
        &self.place.dir
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.controller.kill();
        self.node.kill();
    }
}

fn start_controller(place: &Place, args: &[&str]) -> Service {
    let state_dir = place.dir.join("controller");
    let own = ["--state-dir", text(&state_dir), "--log-level", log_level()];
    Service::start(Path::new(BINARY), "controller", &place.dir, &[&own, args].concat())
}

fn start_node(place: &Place, args: &[&str]) -> Service {
    let (state_dir, kubelet_dir) = (place.node_state(), place.kubelet());
    let own = ["--state-dir", text(&state_dir), "--log-level", log_level()];
    let of_node = ["--kubelet-dir", text(&kubelet_dir), "--node-id", "node-1"];
    Service::start(Path::new(BINARY), "node", &place.dir, &[&own, &of_node, args].concat())
}

/// Refusals are expected here; `RUST_LOG` asks to see more.
pub(crate) fn log_level() -> &'static str {
    static LEVEL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned()));
    &LEVEL
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The guest, for one test alone: shares with nothing on them but canaries, and a directory with a shared tmpfs as
/// kubelet's. Dropped when the services have ended, it unmounts what is left, and fails a test that leaves the NFS
/// client anything, or has changed a canary.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    canary: Canary,
    _restricted: Option<Restricted>,
    _turn: MutexGuard<'static, ()>,
}

impl Place {
    pub(crate) async fn take(versions: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(
            Path::new("/run/vm/job").exists(),
            "these tests stop servers: run them in the guest (vm/run)"
        );
        let turn = TURN.lock().await;
        let restricted = (!versions.is_empty()).then(|| Restricted::to(versions));
        let shares = ["/share", "/small", "/squashed"];
        for share in shares {
            server::clear(share);
        }
        // `/export` itself is no test's share: there it stands for all that is outside of one.
        let beside = shares.iter().chain(&["/"]).map(|share| server::exported(share));
        let canary = Canary::plant(&beside.collect::<Vec<_>>());
        let dir = PathBuf::from(format!("/run/test-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let place = Self { dir, canary, _restricted: restricted, _turn: turn };
        let kubelet = place.kubelet();
        std::fs::create_dir_all(&kubelet).unwrap();
        server::run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "kubelet"]).arg(&kubelet));
        server::run(Command::new("mount").arg("--make-rshared").arg(&kubelet));
        place
    }

    pub(crate) fn kubelet(&self) -> PathBuf {
        self.dir.join("kubelet")
    }

    pub(crate) fn node_state(&self) -> PathBuf {
        self.dir.join("node")
    }

    pub(crate) fn target(&self, pod: &str) -> PathBuf {
        let parent = self.kubelet().join("pods").join(pod);
        std::fs::create_dir_all(&parent).unwrap();
        parent.join("mount")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for mount in mounts::all("self").iter().rev().filter(|mount| mount.place.starts_with(&self.dir)) {
            server::run(Command::new("umount").arg("-l").arg(&mount.place));
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while mounts::superblocks() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !std::thread::panicking() {
            assert_eq!(
                mounts::superblocks(),
                0,
                "an NFS mount outlives the services and all that was published"
            );
        }
    }
}

/// A request for a volume on `/share`.
pub(crate) fn new_volume(name: &str, parameters: &[(&str, &str)]) -> proto::CreateVolumeRequest {
    let mut request = support::create(name, &[("server", server::NAME), ("share", "/share")]);
    request.parameters.extend(support::map(parameters));
    request
}

/// A volume that no controller made, as in a PersistentVolume written by hand.
pub(crate) fn by_hand(server: &str, share: &str, sub_dir: &str) -> Volume {
    Volume {
        volume_id: format!("by hand: {sub_dir}"),
        volume_context: support::map(&[("server", server), ("share", share), ("subDir", sub_dir)]),
        ..Default::default()
    }
}

/// The answer to a call, which no server may keep waiting for longer than this.
pub(crate) async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    let answer = tokio::time::timeout(Duration::from_secs(20), call).await;
    answer.expect("an answer within 20 s").map(Response::into_inner)
}

#[track_caller]
pub(crate) fn assert_refused<T>(answer: Result<T, Status>, code: Code, words: &str) {
    let Err(status) = answer else { panic!("not refused; {code:?} and {words:?} were expected") };
    assert_eq!(status.code(), code, "{}", status.message());
    assert!(status.message().contains(words), "no {words:?} in: {}", status.message());
}

/// Prints a figure also when the test passes: libtest keeps back what the print macros write.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "    {text}");
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
