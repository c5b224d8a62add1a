//! PersistentVolumes that are a share itself.

use std::fs;

use nfs_subdir_csi::csi::proto::Volume;
use tonic::Code;

use crate::fixture::{Driver, Setup, assert_refused, server};
use crate::support::{self, map};

const CONFIG: &str = "/run/test-whole-share.yaml";

/// `/share/media` is not an export of the server, but a directory in one, which NFS 4 can mount too.
async fn driver() -> Driver {
    let text = format!("wholeShares: ['{0}:/share/media', '{0}:/share']\n", server::NAME);
    fs::write(CONFIG, text).unwrap();
    Driver::start_with(Setup { args: &["--config", CONFIG], versions: &[] }).await
}

fn whole(share: &str) -> Volume {
    Volume {
        volume_id: "media".to_owned(),
        volume_context: map(&[("server", server::NAME), ("share", share)]),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_listed_share_is_published_itself_and_stays_when_the_pod_ends() {
    let driver = driver().await;
    fs::create_dir_all(server::exported("/share/media/films")).unwrap();
    let volume = whole("/share/media");
    let (a, b) = (driver.publish(&volume, "a", &[]).await, driver.publish(&volume, "b", &["ro"]).await);
    driver.publish(&volume, "a", &[]).await;
    fs::write(a.join("films/one"), "x").unwrap();
    assert_eq!(fs::read(b.join("films/one")).unwrap(), b"x");
    assert!(fs::write(b.join("films/two"), "x").is_err(), "read-only");
    for target in [&a, &b] {
        driver.unpublish(&volume, target).await.unwrap();
        assert!(!target.exists());
    }
    driver.delete(&volume).await.unwrap();
    assert!(server::exported("/share/media/films/one").exists());
    assert_eq!(
        server::exported("/share/media").read_dir().unwrap().count(),
        1,
        "the driver writes nothing there"
    );
}

#[tokio::test]
async fn a_share_with_a_state_directory_is_not_shown_to_a_pod() {
    let driver = driver().await;
    let target = driver.target("a");
    // Another controller, with another configuration, has made volumes there.
    fs::create_dir_all(server::exported("/share/.nfs-subdir-csi/volumes")).unwrap();
    let answer = driver.try_publish(support::publish(&whole("/share"), &target, &[])).await;
    assert_refused(answer, Code::FailedPrecondition, "cannot be published itself");
    assert!(!target.exists());
    fs::remove_dir(server::exported("/share/.nfs-subdir-csi/volumes")).unwrap();
    fs::remove_dir(server::exported("/share/.nfs-subdir-csi")).unwrap();
    driver.publish(&whole("/share"), "a", &[]).await;
    // Made on the server, while this node has seen the share without it.
    fs::create_dir(server::exported("/share/.nfs-subdir-csi")).unwrap();
    let answer = driver.try_publish(support::publish(&whole("/share"), &driver.target("b"), &[])).await;
    assert_refused(answer, Code::FailedPrecondition, "cannot be published itself");
    driver.unpublish(&whole("/share"), &target).await.unwrap();
}
