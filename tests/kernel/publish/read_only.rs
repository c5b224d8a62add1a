//! Read-only volumes, by each way to ask for one.

use std::fs;
use std::io;
use std::path::Path;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::Code;

use crate::fixture::{Driver, assert_refused, by_hand, mounts, server};
use crate::support::{capability, publish};

/// Publishes a volume twice: writable, and with a request that `change` has made read-only.
async fn check_read_only(change: impl Fn(&mut proto::NodePublishVolumeRequest)) {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let writable = driver.publish(&volume, "writable", &[]).await;
    fs::write(writable.join("file"), "before").unwrap();
    let target = driver.target("read-only");
    let mut request = publish(&volume, &target, &[]);
    change(&mut request);
    driver.try_publish(request.clone()).await.unwrap();

    assert_refuses_writes(&target);
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "before");
    assert!(mounts::at(&target).iter().all(|mount| mount.has_flag("ro")));
    assert!(mounts::at(&writable).iter().all(|mount| mount.has_flag("rw")));
    fs::write(writable.join("file"), "after").unwrap();
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "after");

    driver.try_publish(request).await.unwrap();
    assert_eq!(mounts::at(&target).len(), 1);
    let answer = driver.try_publish(publish(&volume, &target, &[])).await;
    assert_refused(answer, Code::AlreadyExists, "with ro");
}

fn assert_refuses_writes(target: &Path) {
    let errors = [
        fs::write(target.join("file"), "x"),
        fs::write(target.join("new"), "x"),
        fs::create_dir(target.join("dir")),
        fs::remove_file(target.join("file")),
        fs::rename(target.join("file"), target.join("other")),
    ];
    for error in errors {
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    }
}

#[tokio::test]
async fn a_publish_marked_readonly_refuses_writes() {
    check_read_only(|request| request.readonly = true).await;
}

#[tokio::test]
async fn a_publish_with_the_mount_flag_ro_refuses_writes() {
    check_read_only(|request| {
        request.volume_capability = Some(capability(Mode::MultiNodeMultiWriter, &["ro"]));
    })
    .await;
}

#[tokio::test]
async fn a_publish_for_readers_on_many_nodes_refuses_writes() {
    check_read_only(|request| {
        request.volume_capability = Some(capability(Mode::MultiNodeReaderOnly, &[]));
    })
    .await;
}

#[tokio::test]
async fn a_publish_for_readers_on_one_node_refuses_writes() {
    check_read_only(|request| {
        request.volume_capability = Some(capability(Mode::SingleNodeReaderOnly, &["rw"]));
    })
    .await;
}

#[tokio::test]
async fn a_directory_of_a_read_only_export_is_published_and_refuses_writes() {
    let driver = Driver::start().await;
    let directory = server::exported("/readonly/data");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("file"), "of the server").unwrap();
    let volume = by_hand(server::NAME, "/readonly", "data");
    let target = driver.publish(&volume, "a", &[]).await;
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "of the server");
    assert_refuses_writes(&target);
}
