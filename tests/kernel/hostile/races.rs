//! A tenant swaps directories for links while the driver works on them. Whatever the driver answers, nothing outside of the
//! volume may change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto::volume_capability::AccessType;
use nfs_subdir_csi::csi::proto::{ControllerModifyVolumeRequest, Volume};

use crate::fixture::{Driver, answer, say, server};
use crate::support;

/// The least number of swaps, there and back, during the calls of one test.
const ROUNDS: u64 = 1000;
/// A test that takes longer than this has failed. It is not a measurement.
const TOO_LONG: Duration = Duration::from_mins(3);

/// Swaps `victim` for a link to each of the canaries in turn, and back, until `stop` is set. Both states last about as long
/// as a call, so that calls meet each state and the change between them.
fn swap(victim: &Path, targets: &[PathBuf], stop: &AtomicBool, rounds: &AtomicU64) {
    let aside = victim.with_extension("aside");
    for (round, target) in targets.iter().cycle().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let micros = |most: u64| Duration::from_micros((round as u64).wrapping_mul(7919) % most);
        // Each step may fail because the driver moves directories, too. If a new directory has taken the place, the old one
        // stays aside.
        if fs::rename(victim, &aside).is_ok() {
            let _ = symlink(target, victim);
            std::thread::sleep(micros(1500));
            if victim.is_symlink() {
                let _ = fs::remove_file(victim);
            }
            if fs::rename(&aside, victim).is_err() {
                let _ = fs::rename(&aside, victim.with_extension(format!("lost-{round}")));
            }
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(micros(4000));
    }
}

/// Repeats `work` while another thread swaps `victim` for links to the canaries, which the fixture checks.
///
/// `work` returns whether the driver has done what it was asked to do. It must have succeeded in some rounds and failed in
/// others, otherwise the test proves nothing.
async fn under_attack<F: Future<Output = bool>>(
    driver: &Driver,
    what: &str,
    victim: &str,
    mut work: impl FnMut(u64) -> F,
) {
    // The attacker uses the NFS client of the same node, as a pod could, so the driver sees every change at once.
    let share = driver.dir().join("attacker");
    fs::create_dir(&share).unwrap();
    let source = format!("{}:/share", server::NAME);
    let options = ["-i", "-t", "nfs", "-o", "vers=4.2,addr=127.0.0.1", &source];
    server::run(Command::new("mount").args(options).arg(&share));
    let victim = share.join(victim);
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let attacker = {
        let (canaries, stop, rounds) = (driver.canaries().to_vec(), Arc::clone(&stop), Arc::clone(&rounds));
        std::thread::spawn(move || swap(&victim, &canaries, &stop, &rounds))
    };
    let begun = Instant::now();
    let (mut calls, mut done) = (0, 0);
    while rounds.load(Ordering::Relaxed) < ROUNDS || done <= 20 || done + 20 >= calls {
        assert!(begun.elapsed() < TOO_LONG, "{what}: {done} of {calls} calls, {rounds:?} swaps");
        done += u64::from(work(calls).await);
        calls += 1;
    }
    stop.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
    let rounds = rounds.load(Ordering::Relaxed);
    say(&format!("{what}: {calls} calls, {done} of them done, {rounds} swaps"));
}

/// Creates the volume if it does not exist. A link in its place makes this fail, which is no error.
async fn make(driver: &Driver, sub_dir: &str, policy: &str) -> Option<Volume> {
    driver
        .try_create(crate::fixture::new_volume("v", &[("subDir", sub_dir), ("onDelete", policy)]))
        .await
        .ok()
}

async fn delete_under_attack(sub_dir: &'static str, victim: &str, policy: &str) {
    let driver = Driver::start().await;
    under_attack(&driver, &format!("{policy} of {sub_dir}, {victim} swapped"), victim, |_| async {
        match make(&driver, sub_dir, policy).await {
            Some(volume) => driver.delete(&volume).await.is_ok(),
            None => false,
        }
    })
    .await;
}

#[tokio::test]
async fn a_delete_under_attack_removes_nothing_outside() {
    delete_under_attack("v", "v", "delete").await;
}

#[tokio::test]
async fn a_delete_below_a_parent_under_attack_removes_nothing_outside() {
    delete_under_attack("ns/v", "ns", "delete").await;
}

#[tokio::test]
async fn an_archive_under_attack_moves_nothing_outside() {
    delete_under_attack("ns/v", "ns", "archive").await;
}

#[tokio::test]
async fn a_change_of_mode_and_owner_under_attack_changes_nothing_outside() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    under_attack(&driver, "modify", "v", |number| {
        let mode = if number % 2 == 0 { "0751" } else { "0715" };
        let request = ControllerModifyVolumeRequest {
            volume_id: volume.volume_id.clone(),
            mutable_parameters: support::map(&[("mountPermissions", mode), ("uid", "1234")]),
            ..Default::default()
        };
        let mut controller = driver.controller_client();
        async move { answer(controller.controller_modify_volume(request)).await.is_ok() }
    })
    .await;
}

#[tokio::test]
async fn a_publish_with_a_group_under_attack_changes_and_shows_nothing_outside() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    fs::write(server::exported("/share/v/own"), "own").unwrap();
    let target = driver.target("a");
    under_attack(&driver, "publish", "v", |number| {
        let mut request = support::publish(&volume, &target, &[]);
        if let Some(AccessType::Mount(mount)) = &mut request.volume_capability.as_mut().unwrap().access_type {
            mount.volume_mount_group = (5000 + number).to_string();
        }
        let (driver, volume, target) = (&driver, &volume, &target);
        async move {
            let published = driver.try_publish(request).await.is_ok();
            if published {
                assert!(
                    target.join("own").exists() && !target.join("file").exists(),
                    "another directory was published"
                );
            }
            driver.unpublish(volume, target).await.unwrap();
            assert!(!target.exists());
            published
        }
    })
    .await;
}
