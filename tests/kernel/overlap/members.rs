//! Controllers and node services as separate NFS clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto::{self, Volume};
use tonic::{Code, Response, Status};

use super::network::{Network, SERVER};
use crate::fixture::{Place, binary, log_level, server, text};
use crate::support::{self, Client, Service};

/// A service of the driver in a network of its own.
pub(crate) struct Member {
    pub(crate) service: Service,
    pub(crate) network: Network,
    client: Client,
    role: &'static str,
    dir: PathBuf,
    args: Vec<String>,
}

impl Member {
    /// Starts the controller with this number, from 1.
    pub(crate) async fn controller(place: &Place, number: u8, args: &[&str]) -> Self {
        Self::start(place, number, "controller", args).await
    }

    /// Starts the node service with this number, which no controller may have.
    pub(crate) async fn node(place: &Place, number: u8, args: &[&str]) -> Self {
        // All nodes of a test share a kubelet directory. Each has a driver name of its own, and so a folder of its own for its notes.
        let (kubelet, id, name) =
            (place.kubelet(), format!("node-{number}"), format!("node-{number}.driver"));
        let of_node = ["--kubelet-dir", text(&kubelet), "--node-id", &id, "--driver-name", &name];
        Self::start(place, number, "node", &[&of_node, args].concat()).await
    }

    async fn start(place: &Place, number: u8, role: &'static str, args: &[&str]) -> Self {
        let dir = place.dir.join(format!("{role}-{number}"));
        fs::create_dir(&dir).unwrap();
        let network = Network::make(number);
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let service = launch(&network, role, &dir, &args);
        let client = service.client().await;
        Self { service, network, client, role, dir, args }
    }

    /// Kills the service and starts it again.
    pub(crate) async fn restart(&mut self) {
        self.service.kill();
        self.service = launch(&self.network, self.role, &self.dir, &self.args);
        self.client = self.service.client().await;
    }

    /// Stops every thread of the service where it is, or lets it go on.
    pub(crate) fn pause(&self, paused: bool) {
        let signal = if paused { "-STOP" } else { "-CONT" };
        server::run(Command::new("kill").args([signal, &self.service.pid().to_string()]));
    }

    /// A client for calls that have no method here.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) async fn create(&self, request: proto::CreateVolumeRequest) -> Result<Volume, Status> {
        let volume = until_final(|| {
            let (mut controller, request) = (self.client.controller.clone(), request.clone());
            async move { controller.create_volume(request).await }
        });
        volume.await.map(|response| response.volume.unwrap())
    }

    pub(crate) async fn delete(&self, handle: &str) -> Result<(), Status> {
        let answer = until_final(|| {
            let mut controller = self.client.controller.clone();
            let request = proto::DeleteVolumeRequest { volume_id: handle.to_owned(), ..Default::default() };
            async move { controller.delete_volume(request).await }
        });
        answer.await.map(drop)
    }

    pub(crate) async fn get(&self, handle: &str) -> Result<(), Status> {
        let answer = until_final(|| {
            let mut controller = self.client.controller.clone();
            let request = proto::ControllerGetVolumeRequest { volume_id: handle.to_owned() };
            async move { controller.controller_get_volume(request).await }
        });
        answer.await.map(drop)
    }

    pub(crate) async fn publish(&self, volume: &Volume, target: &Path) -> Result<(), Status> {
        let answer = until_final(|| {
            let (mut node, request) = (self.client.node.clone(), support::publish(volume, target, &[]));
            async move { node.node_publish_volume(request).await }
        });
        answer.await.map(drop)
    }

    pub(crate) async fn unpublish(&self, volume: &Volume, target: &Path) -> Result<(), Status> {
        let answer = until_final(|| {
            let (mut node, request) = (self.client.node.clone(), support::unpublish(volume, target));
            async move { node.node_unpublish_volume(request).await }
        });
        answer.await.map(drop)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // A stopped process is ended by SIGKILL, too. Its network is removed afterwards.
        self.service.kill();
    }
}

fn launch(network: &Network, role: &str, dir: &Path, args: &[String]) -> Service {
    let mut command = network.command();
    command.arg(binary());
    let state_dir = dir.join("state");
    let own = ["--state-dir", text(&state_dir), "--log-level", log_level()];
    let args: Vec<&str> = own.into_iter().chain(args.iter().map(String::as_str)).collect();
    Service::launch(command, role, dir, &args)
}

/// Repeats a call while its answer is ABORTED or UNAVAILABLE, as the sidecars do, for 60 s at most.
async fn until_final<T, F: Future<Output = Result<Response<T>, Status>>>(
    mut call: impl FnMut() -> F,
) -> Result<T, Status> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let answer =
            tokio::time::timeout(Duration::from_mins(2), call()).await.expect("an answer within 2 min");
        match answer {
            Err(status)
                if [Code::Aborted, Code::Unavailable].contains(&status.code())
                    && Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer.map(Response::into_inner),
        }
    }
}

/// A request for a volume on `/share`, as all members name it.
pub(crate) fn new_volume(name: &str, parameters: &[(&str, &str)]) -> proto::CreateVolumeRequest {
    let mut request = support::create(name, &[("server", SERVER), ("share", "/share")]);
    request.parameters.extend(support::map(parameters));
    request
}

/// The handle of the volume with this name.
pub(crate) fn handle(name: &str) -> String {
    format!("{SERVER}:/share#{name}")
}

/// A request for a volume that is filled from another one.
pub(crate) fn clone_of(source: &Volume, name: &str) -> proto::CreateVolumeRequest {
    use proto::volume_content_source::{Type, VolumeSource};
    let source = VolumeSource { volume_id: source.volume_id.clone() };
    proto::CreateVolumeRequest {
        volume_content_source: Some(proto::VolumeContentSource { r#type: Some(Type::Volume(source)) }),
        ..new_volume(name, &[])
    }
}

/// The directory of a volume on the server.
pub(crate) fn on_server(sub_dir: &str) -> PathBuf {
    server::exported("/share").join(sub_dir)
}

/// How many files of this name lie anywhere in the state directory of `/share`.
pub(crate) fn in_state_dir(name: &str) -> usize {
    let state_dir = on_server(".nfs-subdir-csi");
    server::run(Command::new("find").arg(state_dir).args(["-ignore_readdir_race", "-name", name]))
        .lines()
        .count()
}
