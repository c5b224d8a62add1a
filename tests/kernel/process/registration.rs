//! The socket at which the node service registers itself with kubelet, over the life of a process.

use std::path::Path;

use nfs_subdir_csi::csi::registration_proto::InfoRequest;
use nfs_subdir_csi::csi::registration_proto::registration_client::RegistrationClient;
use tonic::transport::Endpoint;

use crate::fixture::{BINARY, Place, log_level, text};
use crate::support::Service;

#[tokio::test]
async fn kubelet_finds_each_new_node_service_and_no_socket_of_one_that_was_stopped() {
    let place = Place::take(&[]).await;
    let socket = place.kubelet().join("plugins_registry/csi@nfs-subdir.csi.dev.sock");
    let start = || {
        let (kubelet_dir, state_dir) = (place.kubelet(), place.node_state());
        let dirs = ["--kubelet-dir", text(&kubelet_dir), "--state-dir", text(&state_dir)];
        let args = ["--node-id", "node-1", "--register", "--log-level", log_level()];
        Service::start(Path::new(BINARY), "node", &place.dir, &[&dirs[..], &args].concat())
    };
    let mut node = start();
    assert_eq!(registered(&socket).await, node.socket.display().to_string());
    node.kill();
    assert!(socket.exists(), "SIGKILL leaves it");
    let mut node = start();
    assert_eq!(registered(&socket).await, node.socket.display().to_string());
    assert!(node.stop().success());
    assert!(!socket.exists() && !node.socket.exists());
}

/// The socket of the driver, as kubelet is told.
async fn registered(socket: &Path) -> String {
    let uri = format!("unix:{}", socket.display());
    // The registration socket comes after the driver's own, which is the one that `start` has waited for.
    let channel = loop {
        match Endpoint::try_from(uri.clone()).unwrap().connect().await {
            Ok(channel) => break channel,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    RegistrationClient::new(channel).get_info(InfoRequest {}).await.unwrap().into_inner().endpoint
}
