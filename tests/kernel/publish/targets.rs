//! Target paths: what a publish does there, and what it refuses.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::Code;

use crate::fixture::{Driver, assert_refused, mounts, server};
use crate::support::{capability, publish};

#[tokio::test]
async fn two_targets_of_one_volume_share_its_data() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let (a, b) = (driver.publish(&volume, "a", &[]).await, driver.publish(&volume, "b", &[]).await);
    fs::write(a.join("from-a"), "one").unwrap();
    assert_eq!(fs::read_to_string(b.join("from-a")).unwrap(), "one");
    fs::write(b.join("from-a"), "two").unwrap();
    assert_eq!(fs::read_to_string(a.join("from-a")).unwrap(), "two");
    assert_eq!(fs::read_to_string(server::directory(&volume).join("from-a")).unwrap(), "two");

    driver.unpublish(&volume, &a).await.unwrap();
    assert!(!a.exists());
    assert_eq!(fs::read_to_string(b.join("from-a")).unwrap(), "two", "the other target is not affected");
}

#[tokio::test]
async fn a_setuid_bit_has_effect_unless_the_volume_is_nosuid() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[("mountPermissions", "0755")]).await;
    let plain = driver.publish(&volume, "plain", &[]).await;
    let nosuid = driver.publish(&volume, "nosuid", &["nosuid"]).await;
    fs::copy("/usr/bin/id", plain.join("id")).unwrap();
    fs::set_permissions(plain.join("id"), fs::Permissions::from_mode(0o4755)).unwrap();
    let effective_uid = |target: &Path| {
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let id = server::run(Command::new("setpriv").args(nobody).arg(target.join("id")).arg("-u"));
        id.trim().to_owned()
    };
    assert_eq!(effective_uid(&plain), "0", "setuid has its effect");
    assert_eq!(effective_uid(&nosuid), "65534");
}

#[tokio::test]
async fn a_device_node_opens_unless_the_volume_is_nodev() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let plain = driver.publish(&volume, "plain", &[]).await;
    let nodev = driver.publish(&volume, "nodev", &["nodev"]).await;
    server::run(Command::new("mknod").arg(plain.join("zero")).args(["c", "1", "5"]));
    let read = |target: &Path| {
        let mut bytes = [1; 4];
        io::Read::read_exact(&mut fs::File::open(target.join("zero"))?, &mut bytes).map(|()| bytes)
    };
    assert_eq!(read(&plain).unwrap(), [0; 4]);
    assert_eq!(read(&nodev).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_program_runs_unless_the_volume_is_noexec() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let plain = driver.publish(&volume, "plain", &[]).await;
    let noexec = driver.publish(&volume, "noexec", &["noexec"]).await;
    fs::copy("/usr/bin/true", plain.join("program")).unwrap();
    let execute = |target: &Path| Command::new(target.join("program")).status();
    assert!(execute(&plain).unwrap().success());
    assert_eq!(execute(&noexec).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(fs::read(noexec.join("program")).unwrap(), fs::read("/usr/bin/true").unwrap());
}

#[tokio::test]
async fn a_repeated_publish_changes_nothing() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &["nosuid"]).await;
    let before = mounts::at(&target);
    assert_eq!(before.len(), 1);
    for _ in 0..3 {
        driver.publish(&volume, "a", &["nosuid"]).await;
    }
    assert_eq!(mounts::at(&target), before, "it is the same mount, and nothing is mounted over it");
    driver.unpublish(&volume, &target).await.unwrap();
    assert!(mounts::at(&target).is_empty() && !target.exists());
}

#[tokio::test]
async fn a_target_with_other_flags_or_another_volume_already_exists() {
    let driver = Driver::start().await;
    let (one, two) = (driver.create("one", &[]).await, driver.create("two", &[]).await);
    let target = driver.publish(&one, "a", &["nosuid"]).await;
    fs::write(target.join("file"), "of one").unwrap();
    let before = mounts::at(&target);
    for (request, words) in [
        (publish(&one, &target, &[]), "with nosuid"),
        (publish(&one, &target, &["nosuid", "ro"]), "without ro"),
        (publish(&one, &target, &["nosuid", "noexec"]), "without noexec"),
        (publish(&two, &target, &["nosuid"]), "something else is mounted at"),
    ] {
        assert_refused(driver.try_publish(request).await, Code::AlreadyExists, words);
    }
    assert_eq!(mounts::at(&target), before);
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "of one");
}

#[tokio::test]
async fn a_target_where_something_else_is_mounted_already_exists() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.target("a");
    fs::create_dir(&target).unwrap();
    server::run(Command::new("mount").args(["-t", "tmpfs", "other"]).arg(&target));
    let answer = driver.try_publish(publish(&volume, &target, &[])).await;
    assert_refused(answer, Code::AlreadyExists, ": other");
    assert_eq!(mounts::at(&target).len(), 1);
}

#[tokio::test]
async fn unpublishing_a_target_where_nothing_is_mounted_succeeds() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.target("a");
    driver.unpublish(&volume, &target).await.unwrap();
    fs::create_dir(&target).unwrap();
    driver.unpublish(&volume, &target).await.unwrap();
    assert!(!target.exists(), "an empty target directory is removed");
    driver.unpublish(&volume, &target.join("no/parent")).await.unwrap();
}

#[tokio::test]
async fn an_unpublish_removes_all_mounts_from_a_target() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    server::run(Command::new("mount").arg("--bind").args([&target, &target]));
    assert_eq!(mounts::at(&target).len(), 2);
    driver.unpublish(&volume, &target).await.unwrap();
    assert!(mounts::at(&target).is_empty() && !target.exists());
}

#[tokio::test]
async fn an_unpublish_succeeds_while_a_process_still_uses_the_volume() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    let mut file = fs::File::create(target.join("file")).unwrap();
    driver.unpublish(&volume, &target).await.unwrap();
    assert!(mounts::at(&target).is_empty() && !target.exists());
    io::Write::write_all(&mut file, b"late").unwrap();
    drop(file);
    assert_eq!(fs::read_to_string(server::directory(&volume).join("file")).unwrap(), "late");
}

#[tokio::test]
async fn an_unpublish_needs_no_server() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    let stopped = server::Stopped::stop();
    driver.unpublish(&volume, &target).await.unwrap();
    assert!(mounts::at(&target).is_empty() && !target.exists());
    drop(stopped);
}

/// Guards that were taken for the whole volume would answer ABORTED to some of these calls.
#[tokio::test]
async fn one_volume_is_published_at_many_targets_at_the_same_time() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let targets: Vec<_> = (0..30).map(|pod| driver.target(&format!("pod-{pod}"))).collect();
    let mut calls = tokio::task::JoinSet::new();
    for target in &targets {
        let (mut node, request) = (driver.node.client().await.node, publish(&volume, target, &[]));
        calls.spawn(async move { node.node_publish_volume(request).await });
    }
    for answer in calls.join_all().await {
        answer.unwrap();
    }
    assert!(targets.iter().all(|target| mounts::at(target).len() == 1));
}

#[tokio::test]
async fn a_target_outside_of_the_kubelet_directory_is_invalid() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let outside = driver.dir().join("outside");
    let by_link = driver.target("a").with_file_name("link");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, &by_link).unwrap();
    for target in [&outside.join("mount"), &by_link.join("mount"), &driver.target("a").join("..")] {
        let answer = driver.try_publish(publish(&volume, target, &[])).await;
        assert_refused(answer, Code::InvalidArgument, "target_path");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(mounts::of_guest().is_empty());
}

#[tokio::test]
async fn a_target_with_files_in_it_is_refused_and_the_files_stay() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.target("a");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("file"), "written while the volume was away").unwrap();
    let answer = driver.try_publish(publish(&volume, &target, &[])).await;
    assert_refused(answer, Code::FailedPrecondition, "contains files");
    assert!(driver.unpublish(&volume, &target).await.is_err());
    assert!(mounts::at(&target).is_empty());
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "written while the volume was away");
}

#[tokio::test]
async fn a_target_that_is_a_link_is_refused_and_not_followed() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let (target, elsewhere) = (driver.target("a"), driver.dir().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &target).unwrap();
    let answer = driver.try_publish(publish(&volume, &target, &[])).await;
    assert_refused(answer, Code::FailedPrecondition, "not a directory");
    assert!(mounts::of_guest().is_empty());
}

#[tokio::test]
async fn a_volume_for_one_pod_is_refused_at_a_second_target_until_the_first_is_gone() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let single = |pod: &str| proto::NodePublishVolumeRequest {
        volume_capability: Some(capability(Mode::SingleNodeSingleWriter, &[])),
        ..publish(&volume, &driver.target(pod), &[])
    };
    driver.try_publish(single("a")).await.unwrap();
    driver.try_publish(single("a")).await.unwrap();
    let inode = driver.target("a").metadata().unwrap().ino();
    assert_refused(driver.try_publish(single("b")).await, Code::FailedPrecondition, "only one pod");
    assert!(!driver.target("b").exists());

    driver.unpublish(&volume, &driver.target("a")).await.unwrap();
    driver.try_publish(single("b")).await.unwrap();
    assert_eq!(driver.target("b").metadata().unwrap().ino(), inode);
}
