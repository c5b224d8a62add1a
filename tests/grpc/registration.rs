//! The questions of kubelet when the node's socket appears, and those of an exec probe.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nfs_subdir_csi::csi::registration::Registration;
use nfs_subdir_csi::csi::registration_proto::registration_client::RegistrationClient;
use nfs_subdir_csi::csi::registration_proto::{InfoRequest, RegistrationStatus};
use nfs_subdir_csi::{endpoint, server};
use tonic::transport::Endpoint;

use crate::Driver;

#[tokio::test]
async fn kubelet_is_told_where_the_driver_is_and_may_refuse_it() {
    let temporary = tempfile::tempdir().unwrap();
    let driver_name = "test.csi.dev".to_owned();
    let registration = Registration { driver_name, socket: PathBuf::from("/k/plugins/csi.sock") };
    let socket = registration.place(temporary.path());
    assert_eq!(socket, temporary.path().join("plugins_registry/csi@test.csi.dev.sock"));
    tokio::spawn(server::register(endpoint::bind(&socket).unwrap(), registration));
    // gRPC for Go turns the path of a socket into this authority.
    let authority = socket.to_str().unwrap().replace('/', "%2F");
    let origin = format!("http://{authority}").parse().unwrap();
    let endpoint = Endpoint::try_from(format!("unix:{}", socket.display())).unwrap().origin(origin);
    let mut kubelet = RegistrationClient::new(endpoint.connect().await.unwrap());

    let info = kubelet.get_info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "test.csi.dev"));
    assert_eq!(info.endpoint, "/k/plugins/csi.sock");
    assert_eq!(info.supported_versions, ["1.0.0"]);
    for (plugin_registered, error) in [(false, "node not found"), (true, "")] {
        let status = RegistrationStatus { plugin_registered, error: error.to_owned() };
        kubelet.notify_registration_status(status).await.unwrap();
    }
}

#[tokio::test]
async fn a_probe_succeeds_for_a_running_service_and_otherwise_says_why() {
    let driver = Driver::start().await;
    let dir = driver.temporary.path();
    for socket in ["controller.sock", "node.sock"] {
        assert_eq!(probe(&dir.join(socket)).await, (true, String::new()));
    }
    let (passed, text) = probe(&dir.join("nobody.sock")).await;
    assert!(!passed && text.contains("nobody.sock") && text.contains("cannot connect"), "{text}");
    let _deaf = std::os::unix::net::UnixListener::bind(dir.join("deaf.sock")).unwrap();
    let (passed, text) = probe(&dir.join("deaf.sock")).await;
    assert!(!passed && text.contains("no answer within"), "{text}");
}

async fn probe(socket: &Path) -> (bool, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_nfs-subdir-csi"));
    command.arg("probe").arg("--endpoint").arg(format!("unix://{}", socket.display()));
    let output = command.env_remove("RUST_BACKTRACE").stdin(Stdio::null()).output().await.unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}
