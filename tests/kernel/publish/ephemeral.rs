//! Ephemeral volumes, which exist as long as their pod.

use std::fs;
use std::path::{Path, PathBuf};

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

fn on_server(id: &str) -> PathBuf {
    server::exported("/share/.nfs-subdir-csi/ephemeral").join(id)
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
    assert!(!on_server("csi-1").exists() && on_server("csi-2").exists());
    driver.unpublish(&two, &b).await.unwrap();
    until("it is removed", || server::unfinished("/share").is_empty()).await;
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
    assert!(!on_server("csi-1").exists() && !target.exists());
    until("it is removed", || server::unfinished("/share").is_empty()).await;
}
