//! Volumes that are published from an export which then gets another file system id, so that the server does not know the old
//! directories any more.

use std::fs;
use std::path::Path;
use std::process::Command;

use nfs_subdir_csi::csi::proto::{self, VolumeHealthErrorType};
use tonic::Code;

use crate::fixture::{Driver, answer, assert_refused, by_hand, mounts, server};
use crate::support::publish;

/// The export `/moving`, with a directory on the server of its own. It is removed when this is dropped.
struct Moving;

const DIR: &str = "/run/moving";

impl Moving {
    fn make() -> Self {
        fs::create_dir_all(DIR).unwrap();
        server::run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", DIR]));
        fs::create_dir(format!("{DIR}/v")).unwrap();
        Self::export(71);
        Self
    }

    /// Exports the directory with this file system id. Clients that have it mounted by another id get ESTALE from then on.
    fn export(fsid: u32) {
        let _ = Command::new("exportfs").args(["-u", &format!("*:{DIR}")]).output();
        let options = format!("rw,no_root_squash,insecure,no_subtree_check,fsid={fsid}");
        server::run(Command::new("exportfs").args(["-o", &options, &format!("*:{DIR}")]));
        server::run(Command::new("exportfs").arg("-f"));
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let _ = Command::new("exportfs").args(["-u", &format!("*:{DIR}")]).output();
        let _ = Command::new("exportfs").arg("-f").output();
        let _ = Command::new("umount").args(["-l", DIR]).output();
    }
}

async fn stats(driver: &Driver, volume: &proto::Volume, target: &Path) -> Result<(), tonic::Status> {
    let request = proto::NodeGetVolumeStatsRequest {
        volume_id: volume.volume_id.clone(),
        volume_path: target.to_str().unwrap().to_owned(),
        ..Default::default()
    };
    answer(driver.node.client().await.node.node_get_volume_stats(request)).await.map(drop)
}

async fn health(
    driver: &Driver,
    volume: &proto::Volume,
    target: &Path,
) -> Vec<(VolumeHealthErrorType, String)> {
    let request = proto::NodeGetVolumeHealthRequest {
        volume_id: volume.volume_id.clone(),
        volume_publish_path: target.to_str().unwrap().to_owned(),
        ..Default::default()
    };
    let health = answer(driver.node.client().await.node.node_get_volume_health(request)).await.unwrap();
    let entries = health.volume_health.unwrap().health_statuses.into_iter();
    entries.map(|entry| (entry.status(), entry.message)).collect()
}

/// NFS 3, because a client of NFS 4 reaches an export through the root of the server, which stays the same.
const FLAGS: &[&str] = &["nfsvers=3", "nolock"];

#[tokio::test]
async fn a_stale_mount_is_named_and_a_repeated_publish_replaces_it() {
    let driver = Driver::start().await;
    let _moving = Moving::make();
    let volume = by_hand(server::NAME, DIR, "v");
    let target = driver.publish(&volume, "a", FLAGS).await;
    fs::write(target.join("file"), "x").unwrap();
    assert_eq!(health(&driver, &volume, &target).await, []);
    let before = mounts::at(&target);

    Moving::export(72);
    assert_refused(stats(&driver, &volume, &target).await, Code::FailedPrecondition, "restart the pod");
    let found = health(&driver, &volume, &target).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, VolumeHealthErrorType::Inaccessible);
    assert!(found[0].1.contains("restart the pod"), "{found:?}");

    driver.try_publish(publish(&volume, &target, FLAGS)).await.unwrap();
    let after = mounts::at(&target);
    assert_eq!(after.len(), 1);
    assert_ne!(after[0].id, before[0].id, "it is a new mount");
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "x");
    stats(&driver, &volume, &target).await.unwrap();
    driver.unpublish(&volume, &target).await.unwrap();
}

#[tokio::test]
async fn a_stale_mount_that_a_process_uses_stays_and_the_answer_says_what_to_do() {
    let driver = Driver::start().await;
    let _moving = Moving::make();
    let volume = by_hand(server::NAME, DIR, "v");
    let target = driver.publish(&volume, "a", FLAGS).await;
    let mut user = Command::new("sleep").arg("1000").current_dir(&target).spawn().unwrap();
    let before = mounts::at(&target);
    Moving::export(72);
    let again = driver.try_publish(publish(&volume, &target, FLAGS)).await;
    assert_refused(again, Code::FailedPrecondition, "restart the pod");
    assert_eq!(mounts::at(&target), before);
    user.kill().unwrap();
    user.wait().unwrap();
    driver.try_publish(publish(&volume, &target, FLAGS)).await.unwrap();
    assert_ne!(mounts::at(&target)[0].id, before[0].id);
    driver.unpublish(&volume, &target).await.unwrap();
}
