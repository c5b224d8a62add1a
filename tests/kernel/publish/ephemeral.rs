//! Ephemeral volumes, which exist as long as their pod.

use std::fs;
use std::path::Path;
use std::process::Command;

use nfs_subdir_csi::csi::proto::Volume;

use crate::fixture::{Driver, Setup, server, until};
use crate::support;

const CONFIG: &str = "/run/test-ephemeral.yaml";

async fn driver() -> Driver {
    let text = "exports: [{name: fast, server: 127.0.0.1, share: /share}]\ndefaultExport: fast\nephemeralVolumes: true\n";
    fs::write(CONFIG, text).unwrap();
    Driver::start_with(Setup { args: &["--config", "/run/test-ephemeral.yaml"], versions: &[] }).await
}

fn own(id: &str) -> Volume {
    Volume {
        volume_id: id.to_owned(),
        volume_context: support::map(&[("csi.storage.k8s.io/ephemeral", "true")]),
        ..Default::default()
    }
}

/// The directories of the volumes of all nodes on the server.
fn on_server() -> Vec<String> {
    let nodes = server::exported("/share/.nfs-subdir-csi/nodes").read_dir().into_iter().flatten().flatten();
    let entries = nodes.flat_map(|node| node.path().read_dir().into_iter().flatten().flatten());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name != "alive").collect()
}

async fn until_removed() {
    until("the directory is removed", || on_server().is_empty() && server::unfinished("/share").is_empty())
        .await;
}

fn write(target: &Path, content: &str) {
    fs::write(target.join("file"), content).unwrap();
}

#[tokio::test]
async fn each_pod_has_its_own_directory_that_is_removed_with_it() {
    let driver = driver().await;
    let (one, two) = (own("csi-1"), own("csi-2"));
    let (a, b) = (driver.publish(&one, "a", &[]).await, driver.publish(&two, "b", &[]).await);
    write(&a, "one");
    assert!(!b.join("file").exists());
    driver.unpublish(&one, &a).await.unwrap();
    until("the first is removed", || on_server() == ["csi-2"]).await;
    driver.unpublish(&two, &b).await.unwrap();
    until_removed().await;
    let nodes = server::exported("/share/.nfs-subdir-csi/nodes");
    until("the node leaves nothing", || nodes.read_dir().unwrap().next().is_none()).await;
}

#[tokio::test]
async fn a_restarted_node_service_removes_an_ephemeral_volume_of_the_one_before() {
    let mut driver = driver().await;
    let one = own("csi-1");
    let target = driver.publish(&one, "a", &[]).await;
    write(&target, "one");
    driver.node.kill();
    driver.start_node_again().await;
    for _ in 0..2 {
        driver.unpublish(&one, &target).await.unwrap();
    }
    assert!(!target.exists());
    until_removed().await;
}

/// After a restart of the machine nothing is mounted any more.
#[tokio::test]
async fn an_ephemeral_volume_is_removed_although_its_mount_is_gone() {
    let mut driver = driver().await;
    let (unpublished, forgotten, running) = (own("csi-1"), own("csi-2"), own("csi-3"));
    let targets = [
        driver.publish(&unpublished, "a", &[]).await,
        driver.publish(&forgotten, "b", &[]).await,
        driver.publish(&running, "c", &[]).await,
    ];
    write(&targets[2], "kept");
    driver.node.kill();
    for target in &targets {
        server::run(Command::new("umount").arg(target));
    }
    // Kubelet has removed the directory of a pod that it does not know any more.
    fs::remove_dir(&targets[1]).unwrap();
    fs::remove_dir(targets[1].parent().unwrap()).unwrap();
    driver.start_node_again().await;
    driver.unpublish(&unpublished, &targets[0]).await.unwrap();
    until("both are removed", || on_server() == ["csi-3"]).await;
    // The third pod starts again, and finds its files.
    let target = driver.publish(&running, "c", &[]).await;
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "kept");
    driver.unpublish(&running, &target).await.unwrap();
    until_removed().await;
}

#[tokio::test]
async fn an_ephemeral_volume_of_version_0_1_0_is_removed_by_its_unpublish() {
    let mut driver = driver().await;
    let (old, target) = (server::exported("/share/.nfs-subdir-csi/ephemeral/csi-1"), driver.target("a"));
    fs::create_dir_all(&old).unwrap();
    fs::create_dir(&target).unwrap();
    let source = "127.0.0.1:/share/.nfs-subdir-csi/ephemeral/csi-1";
    server::run(Command::new("mount").args(["-t", "nfs", source]).arg(&target));
    driver.publish(&own("csi-1"), "a", &[]).await;
    assert_eq!(on_server(), [""; 0], "it was published already");
    driver.node.kill();
    driver.start_node_again().await;
    driver.unpublish(&own("csi-1"), &target).await.unwrap();
    until("it is removed", || !old.exists()).await;
}
