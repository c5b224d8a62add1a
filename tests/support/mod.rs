//! Code that tests, demo and benchmark share: the driver's real binary as a process, and a client for its socket.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each user needs a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use nfs_subdir_csi::csi::proto;
use proto::controller_client::ControllerClient;
use proto::group_controller_client::GroupControllerClient;
use proto::identity_client::IdentityClient;
use proto::node_client::NodeClient;
use proto::volume_capability::access_mode::Mode;
use proto::volume_capability::{AccessMode, AccessType, MountVolume};
use tonic::transport::{Channel, Endpoint};

/// A service of the driver, killed when dropped.
pub struct Service {
    child: Child,
    pub socket: PathBuf,
}

impl Service {
    /// Starts `binary role args…` with its socket below `dir`, and waits until it serves.
    pub fn start(binary: &Path, role: &str, dir: &Path, args: &[&str]) -> Self {
        Self::launch(Command::new(binary), role, dir, args)
    }

    /// Like [`Self::start`], but appends the output of the service to the file `log`.
    pub fn start_logged(binary: &Path, role: &str, dir: &Path, args: &[&str], log: &Path) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(binary);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Self::launch(command, role, dir, args)
    }

    /// Like [`Self::start`], with a command that executes the driver in the end.
    pub fn launch(mut command: Command, role: &str, dir: &Path, args: &[&str]) -> Self {
        let socket = dir.join(format!("{role}.sock"));
        command.arg(role).arg("--endpoint").arg(format!("unix://{}", socket.display())).args(args);
        let mut service =
            Self { child: command.stdin(Stdio::null()).spawn().expect("start the driver"), socket };
        // A guest on a busy machine is slow to start a program.
        let deadline = Instant::now() + Duration::from_mins(1);
        while std::os::unix::net::UnixStream::connect(&service.socket).is_err() {
            assert!(
                service.child.try_wait().unwrap().is_none(),
                "the {role} service ended instead of serving"
            );
            assert!(Instant::now() < deadline, "the {role} service accepts no connection after a minute");
            std::thread::sleep(Duration::from_millis(10));
        }
        service
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL: the service cannot clean up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits until the service has ended.
    pub fn stop(&mut self) -> ExitStatus {
        let status = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap()
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.socket).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All clients on one connection.
#[derive(Clone)]
pub struct Client {
    pub identity: IdentityClient<Channel>,
    pub controller: ControllerClient<Channel>,
    pub group: GroupControllerClient<Channel>,
    pub node: NodeClient<Channel>,
}

impl Client {
    pub async fn connect(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
        });
        // The connector ignores the address: it always connects to the socket.
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap();
        Self {
            identity: IdentityClient::new(channel.clone()),
            controller: ControllerClient::new(channel.clone()),
            group: GroupControllerClient::new(channel.clone()),
            node: NodeClient::new(channel),
        }
    }
}

/// A mount capability.
pub fn capability(mode: Mode, flags: &[&str]) -> proto::VolumeCapability {
    let mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    proto::VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(AccessType::Mount(MountVolume { mount_flags, ..Default::default() })),
    }
}

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A request for a volume of 1 GiB that many nodes may write to.
pub fn create(name: &str, parameters: &[(&str, &str)]) -> proto::CreateVolumeRequest {
    proto::CreateVolumeRequest {
        name: name.to_owned(),
        capacity_range: Some(proto::CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter, &[])],
        parameters: map(parameters),
        ..Default::default()
    }
}

/// A request to publish `volume` at `target`.
pub fn publish(volume: &proto::Volume, target: &Path, flags: &[&str]) -> proto::NodePublishVolumeRequest {
    proto::NodePublishVolumeRequest {
        volume_id: volume.volume_id.clone(),
        volume_context: volume.volume_context.clone(),
        target_path: target.to_str().unwrap().to_owned(),
        volume_capability: Some(capability(Mode::MultiNodeMultiWriter, flags)),
        ..Default::default()
    }
}

pub fn unpublish(volume: &proto::Volume, target: &Path) -> proto::NodeUnpublishVolumeRequest {
    proto::NodeUnpublishVolumeRequest {
        volume_id: volume.volume_id.clone(),
        target_path: target.to_str().unwrap().to_owned(),
    }
}

pub fn delete(volume: &proto::Volume) -> proto::DeleteVolumeRequest {
    proto::DeleteVolumeRequest { volume_id: volume.volume_id.clone(), ..Default::default() }
}
