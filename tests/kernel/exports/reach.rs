//! A server that listens at another port, for the calls that carry only a handle. Each of them is made to a controller that has
//! nothing mounted that it could use.

use std::fs;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::controller_client::ControllerClient;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::Code;
use tonic::transport::Channel;

use crate::fixture::{Driver, Setup, answer, assert_refused, mounts, new_volume, server, until};
use crate::support::{capability, publish};

const CONFIG: &str = "/run/test-reach.yaml";

async fn driver(args: &'static [&'static str]) -> Driver {
    Driver::start_with(Setup { args, versions: &["-p", "20490"] }).await
}

/// A client of a new controller.
async fn nothing_mounted(driver: &mut Driver) -> ControllerClient<Channel> {
    driver.controller.kill();
    driver.start_controller_again().await;
    driver.controller_client()
}

#[tokio::test]
async fn every_call_finds_the_server_of_a_class_with_another_port_by_the_handle() {
    let mut driver = driver(&["--export-linger", "1"]).await;
    for (version, prefix) in [("nfsvers=4.1", "port=20490,vers=4.1"), ("v3", "port=20490,vers=3")] {
        let flags = ["hard", "port=20490", version];
        let mut request = new_volume("v", &[]);
        request.volume_capabilities = vec![capability(Mode::MultiNodeMultiWriter, &flags)];
        let volume = driver.try_create(request).await.unwrap();
        let id = volume.volume_id.clone();
        assert_eq!(id, format!("{prefix}@nfs-server:/share#v"));
        assert_eq!(
            volume.volume_context["server"], "nfs-server",
            "the context is that of a volume at port 2049"
        );

        let target = driver.publish(&volume, "a", &flags).await;
        fs::write(target.join("file"), "x").unwrap();
        driver.unpublish(&volume, &target).await.unwrap();

        let mut controller = nothing_mounted(&mut driver).await;
        let validate = proto::ValidateVolumeCapabilitiesRequest {
            volume_id: id.clone(),
            volume_context: volume.volume_context.clone(),
            volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter, &flags)],
            ..Default::default()
        };
        assert!(answer(controller.validate_volume_capabilities(validate)).await.unwrap().confirmed.is_some());

        controller = nothing_mounted(&mut driver).await;
        let range = Some(proto::CapacityRange { required_bytes: 2 << 30, limit_bytes: 0 });
        let expand = proto::ControllerExpandVolumeRequest {
            volume_id: id.clone(),
            capacity_range: range,
            ..Default::default()
        };
        answer(controller.controller_expand_volume(expand)).await.unwrap();

        controller = nothing_mounted(&mut driver).await;
        let snapshot = proto::CreateSnapshotRequest {
            source_volume_id: id.clone(),
            name: "s".to_owned(),
            ..Default::default()
        };
        let snapshot = answer(controller.create_snapshot(snapshot)).await.unwrap().snapshot.unwrap();
        assert_eq!(snapshot.snapshot_id, format!("{prefix}@nfs-server:/share#s"));

        // A list has the exports that the process has used.
        let none_left = || mounts::nfs(driver.controller.pid()).is_empty();
        until("the controller lets the export go", none_left).await;
        let listed = answer(controller.list_volumes(proto::ListVolumesRequest::default())).await.unwrap();
        let listed: Vec<String> =
            listed.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id).collect();
        assert_eq!(listed, std::slice::from_ref(&id), "it is listed once, with its own handle");
        let list = answer(controller.list_snapshots(proto::ListSnapshotsRequest::default())).await.unwrap();
        assert_eq!(list.entries[0].snapshot.as_ref().unwrap().snapshot_id, snapshot.snapshot_id);

        controller = nothing_mounted(&mut driver).await;
        let delete = proto::DeleteSnapshotRequest { snapshot_id: snapshot.snapshot_id, ..Default::default() };
        answer(controller.delete_snapshot(delete)).await.unwrap();

        nothing_mounted(&mut driver).await;
        driver.delete(&volume).await.unwrap();
        assert!(!server::exported("/share/v").exists());
    }
}

#[tokio::test]
async fn a_rule_of_the_configuration_reaches_volumes_whose_handles_say_nothing() {
    fs::write(CONFIG, "inline: {mountOptions: [{servers: [nfs-server], options: [port=20490]}]}\n").unwrap();
    let driver = driver(&["--config", CONFIG]).await;
    let volume = driver.create("v", &[]).await;
    assert_eq!(
        volume.volume_id, "nfs-server:/share#v",
        "what the configuration says is not repeated in the handle"
    );
    let target = driver.publish(&volume, "a", &[]).await;
    driver.unpublish(&volume, &target).await.unwrap();
    driver.delete(&volume).await.unwrap();

    // A volume that csi-driver-nfs has made.
    fs::create_dir(server::exported("/share/old")).unwrap();
    let old = proto::Volume { volume_id: "nfs-server#share#old##".to_owned(), ..Default::default() };
    driver.delete(&old).await.unwrap();
    assert!(!server::exported("/share/old").exists());

    let other = driver.try_publish(publish(&volume, &driver.target("b"), &["port=2049"])).await;
    assert_refused(other, Code::Internal, "2049");
}
