//! SIGKILL while a snapshot is taken or a volume is filled: the retry makes a complete copy, and an incomplete one is never
//! visible.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::sigkill::SOON;
use crate::copies::snapshots::restored;
use crate::fixture::random::{Random, seed};
use crate::fixture::{Driver, say, server, until};

/// Kills in a run. `NFS_SUBDIR_CSI_COPY_ROUNDS` sets another number.
const ROUNDS: u64 = 200;
/// Number of files in the tree, in ten directories.
const FILES: usize = 60;
/// The latest moment of a kill after the beginning of the call, in microseconds. Most copies take less time.
const LATEST_KILL: u64 = 150_000;

fn build(dir: &Path) {
    for number in 0..FILES {
        let folder = dir.join(format!("d{}", number % 10));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(number.to_string()), number.to_string().repeat(100)).unwrap();
    }
    fs::hard_link(dir.join("d0/0"), dir.join("d1/link")).unwrap();
}

/// Checks with diff(1) that two trees are the same.
fn assert_same(one: &Path, other: &Path, context: &str) {
    let mut diff = std::process::Command::new("diff");
    let output = diff.arg("-r").args([one, other]).output().unwrap();
    assert!(output.status.success(), "{context}: {}", String::from_utf8_lossy(&output.stdout));
}

/// Checks that every visible snapshot and volume is complete.
async fn assert_whole(driver: &Driver, source: &Path, context: &str) {
    let state = server::exported("/share/.nfs-subdir-csi/snapshots");
    for snapshot in driver.snapshots().await {
        assert!(snapshot.ready_to_use);
        let key = snapshot.snapshot_id.rsplit('#').next().unwrap();
        assert_same(source, &state.join(key).join("0"), context);
    }
    if server::exported("/share/r").exists() {
        assert_same(source, &server::exported("/share/r"), context);
    }
}

#[tokio::test]
async fn after_200_kills_every_copy_is_whole_or_absent() {
    let rounds = std::env::var("NFS_SUBDIR_CSI_COPY_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let seed = seed();
    let mut random = Random::new(seed);
    let mut driver = Driver::start_with(SOON).await;
    let volume = driver.create("v", &[]).await;
    let source = server::directory(&volume);
    build(&source);
    let target = driver.publish(&volume, "keeper", &[]).await;
    let id = |name: &str| format!("{}:/share#{name}", server::NAME);

    let mut interrupted = 0;
    for round in 0..rounds {
        let restore = random.below(2) == 1;
        let kill_at = Duration::from_micros(random.below(LATEST_KILL));
        let context = format!("seed {seed}, round {round}, {}", if restore { "restore" } else { "snapshot" });
        let what = async |driver: &Driver| {
            if restore {
                driver.try_create(restored("r", &id("base"), &[])).await.map(drop)
            } else {
                driver.snapshot("s", &volume.volume_id).await.map(drop)
            }
        };
        driver.snapshot("base", &volume.volume_id).await.unwrap();
        let first = tokio::time::timeout(kill_at, what(&driver)).await;
        driver.controller.kill();
        interrupted += u64::from(first.is_err());
        driver.start_controller_again().await;
        assert_whole(&driver, &source, &context).await;
        what(&driver).await.unwrap_or_else(|status| panic!("{context}: {status}"));
        assert_whole(&driver, &source, &context).await;
        if restore {
            driver.try_create(restored("r", &id("base"), &[])).await.unwrap();
            let made = nfs_subdir_csi::csi::proto::Volume { volume_id: id("r"), ..Default::default() };
            driver.delete(&made).await.unwrap();
        } else {
            driver.delete_snapshot(&id("s")).await.unwrap();
        }
    }
    say(&format!("{rounds} kills, {interrupted} of them in the middle of a copy; seed {seed}"));
    assert!(interrupted > rounds / 10, "too few kills hit a copy: {interrupted} of {rounds}");
    driver.delete_snapshot(&id("base")).await.unwrap();
    let snapshots = server::exported("/share/.nfs-subdir-csi/snapshots");
    assert_eq!(snapshots.read_dir().unwrap().count(), 0);
    until("nothing unfinished is left", || server::unfinished("/share").is_empty()).await;
    driver.unpublish(&volume, &target).await.unwrap();
}
