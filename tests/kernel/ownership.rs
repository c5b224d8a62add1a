//! Groups of pods, and volumes that are mounted by themselves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use nfs_subdir_csi::csi::proto::volume_capability::AccessType;
use nfs_subdir_csi::csi::proto::{NodePublishVolumeRequest, Volume};
use tonic::Code;

use super::fixture::{Driver, assert_refused, by_hand};
use super::support::publish;
use super::{mounts, server};

fn for_group(volume: &Volume, target: &Path, group: &str) -> NodePublishVolumeRequest {
    let mut request = publish(volume, target, &[]);
    let capability = request.volume_capability.as_mut().unwrap();
    let Some(AccessType::Mount(mount)) = &mut capability.access_type else { unreachable!() };
    group.clone_into(&mut mount.volume_mount_group);
    request
}

#[tokio::test]
async fn a_group_gets_the_top_of_its_volume_and_what_is_made_in_it() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let top = server::exported("/share/v");
    fs::create_dir(top.join("deep")).unwrap();
    let target = driver.target("a");
    driver.try_publish(for_group(&volume, &target, "4321")).await.unwrap();
    let after = top.metadata().unwrap();
    assert_eq!((after.uid(), after.gid(), after.mode() & 0o7777), (0, 4321, 0o2770));
    assert_eq!(top.join("deep").metadata().unwrap().gid(), 0, "what was there is left as it is");

    let as_pod = ["--reuid", "1000", "--regid", "1000", "--groups", "4321"];
    server::run(Command::new("setpriv").args(as_pod).args(["touch", "file"]).current_dir(&target));
    let made = top.join("file").metadata().unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 4321));

    // Once: what a pod has changed since is not changed back.
    fs::set_permissions(&top, fs::Permissions::from_mode(0o2775)).unwrap();
    driver.unpublish(&volume, &target).await.unwrap();
    driver.try_publish(for_group(&volume, &target, "4321")).await.unwrap();
    assert_eq!(top.metadata().unwrap().mode() & 0o7777, 0o2775);
}

#[tokio::test]
async fn a_group_on_an_export_that_squashes_root_is_refused_and_the_option_named() {
    let driver = Driver::start().await;
    fs::create_dir(server::exported("/squashed/v")).unwrap();
    let volume = by_hand(server::NAME, "/squashed", "v");
    let target = driver.target("a");
    let answer = driver.try_publish(for_group(&volume, &target, "4321")).await;
    assert_refused(answer, Code::FailedPrecondition, "no_root_squash");
    assert!(!target.exists());
}

#[tokio::test]
async fn a_volume_that_is_mounted_by_itself_takes_no_export_mount() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[("subDir", "ns/v"), ("directMount", "true")]).await;
    let (one, two) = (driver.target("a"), driver.publish(&volume, "b", &["ro"]).await);
    for _ in 0..2 {
        driver.try_publish(publish(&volume, &one, &[])).await.unwrap();
    }
    assert!(driver.export_mounts().is_empty());
    let at_one = mounts::at(&one);
    assert_eq!(at_one.len(), 1);
    assert_eq!(at_one[0].source, format!("{}:/share/ns/v", server::NAME));
    fs::write(one.join("file"), "x").unwrap();
    assert_eq!(fs::read_to_string(two.join("file")).unwrap(), "x");
    assert!(fs::write(two.join("file"), "y").is_err());
    for target in [&one, &two] {
        driver.unpublish(&volume, target).await.unwrap();
    }
    assert!(mounts::at(&one).is_empty());
    driver.delete(&volume).await.unwrap();
}
