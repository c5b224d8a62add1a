//! The socket by which the node service registers with kubelet, when the service starts, is killed or stops.

use std::path::Path;

use nfs_subdir_csi::csi::registration_proto::InfoRequest;
use nfs_subdir_csi::csi::registration_proto::registration_client::RegistrationClient;
use tonic::transport::Endpoint;

use crate::fixture::{Place, binary, log_level, text};
use crate::support::Service;

#[tokio::test]
async fn kubelet_finds_a_restarted_node_service_and_no_socket_of_a_stopped_one() {
    let place = Place::take(&[]).await;
    let socket = place.kubelet().join("plugins_registry/csi@nfs-subdir.csi.dev.sock");
    let start = || {
        let (kubelet_dir, state_dir) = (place.kubelet(), place.node_state());
        let dirs = ["--kubelet-dir", text(&kubelet_dir), "--state-dir", text(&state_dir)];
        let args = ["--node-id", "node-1", "--register", "--log-level", log_level()];
        Service::start(Path::new(binary()), "node", &place.dir, &[&dirs[..], &args].concat())
    };
    let mut node = start();
    assert_eq!(registered(&socket).await, node.socket.display().to_string());
    node.kill();
    assert!(socket.exists(), "after SIGKILL the socket is still there");
    let mut node = start();
    assert_eq!(registered(&socket).await, node.socket.display().to_string());
    assert!(node.stop().success());
    assert!(!socket.exists() && !node.socket.exists());
}

/// The driver's socket, as the registration tells kubelet.
async fn registered(socket: &Path) -> String {
    let uri = format!("unix:{}", socket.display());
    // `start` has waited for the driver's own socket. The registration socket appears after it.
    let channel = loop {
        match Endpoint::try_from(uri.clone()).unwrap().connect().await {
            Ok(channel) => break channel,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    RegistrationClient::new(channel).get_info(InfoRequest {}).await.unwrap().into_inner().endpoint
}
