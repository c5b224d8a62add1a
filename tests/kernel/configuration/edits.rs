//! Edits of the configuration file while the services run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nfs_subdir_csi::csi::proto::CreateVolumeRequest;
use tonic::Code;

use crate::fixture::{Driver, Setup, assert_refused, mounts, say, server, until};
use crate::support::{self, publish};

const DIR: &str = "/run/test-config";
pub(crate) const WITH_CONFIG: Setup =
    Setup { args: &["--config", "/run/test-config/config.yaml"], versions: &[] };

/// Replaces the file as kubelet does for a ConfigMap: with a new folder and a swap of symbolic links.
pub(crate) fn configure(content: &str) {
    static VERSION: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let version = VERSION.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
    let dir = Path::new(DIR);
    fs::create_dir_all(dir.join(&version)).unwrap();
    fs::write(dir.join(&version).join("config.yaml"), content).unwrap();
    let _ = fs::remove_file(dir.join("..new"));
    std::os::unix::fs::symlink(&version, dir.join("..new")).unwrap();
    fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
    if !dir.join("config.yaml").is_symlink() {
        std::os::unix::fs::symlink("..data/config.yaml", dir.join("config.yaml")).unwrap();
    }
}

pub(crate) fn fast_at(server: &str, share: &str) -> String {
    format!("exports: [{{name: fast, server: {server}, share: {share}}}]\ndefaultExport: fast\n")
}

pub(crate) fn of_default_export(name: &str) -> CreateVolumeRequest {
    CreateVolumeRequest { capacity_range: None, ..support::create(name, &[]) }
}

#[tokio::test]
async fn the_next_publish_follows_an_export_that_has_moved() {
    configure(&fast_at("127.0.0.1", "/share"));
    let driver = Driver::start_with(WITH_CONFIG).await;
    let volume = driver.try_create(of_default_export("v")).await.unwrap();
    assert_eq!(volume.volume_id, "fast#v");
    let old = driver.publish(&volume, "old", &[]).await;
    fs::write(old.join("file"), "old place").unwrap();

    // The new place has a copy of the files, as after a real move.
    let moved = server::exported("/small/moved");
    server::run(std::process::Command::new("cp").arg("-a").arg(server::exported("/share")).arg(&moved));
    fs::write(moved.join("v/file"), "new place").unwrap();
    configure(&fast_at("nfs-server", "/small/moved"));
    let mut new = driver.target("new-0");
    let mut number = 0;
    // The services read the new file within seconds. Until then a publish goes to the old place.
    while {
        driver.try_publish(publish(&volume, &new, &[])).await.unwrap();
        fs::read_to_string(new.join("file")).unwrap() != "new place"
    } {
        driver.unpublish(&volume, &new).await.unwrap();
        number += 1;
        assert!(number < 100, "the new configuration has no effect");
        tokio::time::sleep(Duration::from_millis(100)).await;
        new = driver.target(&format!("new-{number}"));
    }
    // After a restart, kubelet publishes the volumes of running pods again.
    driver.try_publish(publish(&volume, &old, &[])).await.unwrap();
    assert_eq!(
        fs::read_to_string(old.join("file")).unwrap(),
        "old place",
        "a running pod keeps the old place"
    );
    for target in [&old, &new] {
        driver.unpublish(&volume, target).await.unwrap();
    }
    driver.delete(&volume).await.unwrap();
    assert!(!moved.join("v").exists());
}

#[tokio::test]
async fn a_server_that_is_not_listed_is_mounted_by_neither_service() {
    configure("inline: {servers: [10.0.0.0/8]}\n");
    let driver = Driver::start_with(WITH_CONFIG).await;
    let request = support::create("v", &[("server", "127.0.0.1"), ("share", "/share")]);
    assert_refused(driver.try_create(request).await, Code::FailedPrecondition, "inline.servers");
    let by_hand = crate::fixture::by_hand("127.0.0.1", "/share", "v");
    let answer = driver.try_publish(publish(&by_hand, &driver.target("a"), &[])).await;
    assert_refused(answer, Code::FailedPrecondition, "inline.servers");
    assert!(mounts::nfs(driver.controller.pid()).is_empty() && driver.export_mounts().is_empty());
}

#[tokio::test]
async fn deleted_volumes_stay_in_the_trash_for_the_configured_time() {
    configure(
        "exports: [{name: fast, server: 127.0.0.1, share: /share, trashRetention: 4s}]\ndefaultExport: fast\n",
    );
    let driver = Driver::start_with(WITH_CONFIG).await;
    let volume = driver.try_create(of_default_export("v")).await.unwrap();
    fs::write(server::exported("/share/v/file"), "precious").unwrap();
    driver.delete(&volume).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let kept = server::unfinished("/share").pop().expect("the deleted volume is still there");
    assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "precious");
    until("it is removed", || server::unfinished("/share").is_empty()).await;
}

/// At this pace, the removal of 3,000 files takes a minute.
#[tokio::test]
async fn the_removal_of_a_large_volume_does_not_keep_the_space_of_another_one() {
    const FEW: usize = 10;
    configure(&(fast_at("127.0.0.1", "/share") + "limits: {removalsPerSecond: 50}\n"));
    let driver = Driver::start_with(WITH_CONFIG).await;
    let mut volumes = Vec::new();
    for (name, files) in [("large", 3000), ("small", FEW)] {
        volumes.push(driver.try_create(of_default_export(name)).await.unwrap());
        for number in 0..files {
            fs::write(server::exported("/share").join(name).join(format!("{name}-{number}")), "x").unwrap();
        }
    }
    let left = |name: &str| {
        let files =
            server::unfinished("/share").into_iter().filter_map(|directory| directory.read_dir().ok());
        let names = files.flatten().flatten().map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|file| file.starts_with(name)).count()
    };
    driver.delete(&volumes[0]).await.unwrap();
    until("the removal of the large one has begun", || left("large") < 3000).await;
    driver.delete(&volumes[1]).await.unwrap();
    until("the small one is removed", || left("small") == 0).await;
    assert!(left("large") > FEW, "the large one was removed before");
    say(&format!("{} of 3000 files of the large one were left", left("large")));
}

#[tokio::test]
async fn no_call_fails_during_a_hundred_edits_of_the_configuration() {
    configure(&fast_at("127.0.0.1", "/share"));
    let driver = Driver::start_with(WITH_CONFIG).await;
    let edits = std::thread::spawn(|| {
        for number in 0..100 {
            let other = format!("  - {{name: other-{number}, server: 127.0.0.1, share: /small}}\n");
            match number % 4 {
                0 => configure("exports: [{name: fast\n"),
                1 => configure(&format!("{}nonsense: {number}\n", fast_at("127.0.0.1", "/share"))),
                _ => configure(&format!(
                    "exports:\n  - {{name: fast, server: 127.0.0.1, share: /share}}\n{other}defaultExport: fast\n"
                )),
            }
            std::thread::sleep(Duration::from_millis(150));
        }
    });
    let mut calls = 0;
    while !edits.is_finished() {
        let volume = driver.try_create(of_default_export(&format!("v-{calls}"))).await.unwrap();
        let target = driver.publish(&volume, "pod", &[]).await;
        fs::write(target.join("file"), "x").unwrap();
        driver.unpublish(&volume, &target).await.unwrap();
        driver.delete(&volume).await.unwrap();
        calls += 4;
    }
    edits.join().unwrap();
    say(&format!("{calls} calls while the file was edited 100 times"));
    assert!(calls > 100);
}
