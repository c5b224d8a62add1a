//! Volumes with `directMount`, and exports that squash.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use tonic::Code;

use crate::fixture::{Driver, assert_refused, by_hand, mounts, new_volume, server};
use crate::publish::groups::for_group;
use crate::support::publish;

#[tokio::test]
async fn a_directly_mounted_volume_uses_no_export_mount() {
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

/// Exports a directory until the value is dropped. No client may have it mounted before or afterwards.
struct Exported(&'static str);

impl Exported {
    fn with(options: &str, path: &'static str) -> Self {
        let options = format!("{options},insecure,no_subtree_check");
        server::run(Command::new("exportfs").args(["-o", &options, path]));
        Self(path)
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        server::run(Command::new("exportfs").args(["-u", self.0]));
        server::run(Command::new("exportfs").arg("-ra"));
    }
}

#[tokio::test]
async fn an_export_with_all_squash_serves_volumes_of_the_anonymous_user_only() {
    let driver = Driver::start().await;
    let top = server::exported("/squashed/for-1234");
    fs::create_dir(&top).unwrap();
    std::os::unix::fs::chown(&top, Some(1234), Some(1234)).unwrap();
    let exported =
        Exported::with("rw,all_squash,no_root_squash,anonuid=1234,anongid=1234,fsid=1", "*:/export/squashed");
    let on_it =
        |name, more: &[(&str, &str)]| new_volume(name, &[&[("share", "/squashed/for-1234")], more].concat());
    let volume = driver.try_create(on_it("v", &[])).await.unwrap();
    assert_eq!(server::directory(&volume).metadata().unwrap().uid(), 1234);
    let target = driver.publish(&volume, "a", &[]).await;
    fs::write(target.join("file"), "x").unwrap();
    let other = driver.target("b");
    driver.try_publish(for_group(&volume, &other, "4321")).await.unwrap();
    assert_eq!(
        server::directory(&volume).metadata().unwrap().gid(),
        1234,
        "the server does not allow another group"
    );
    driver.unpublish(&volume, &other).await.unwrap();
    for answer in [
        driver.try_create(on_it("owned", &[("uid", "1000")])).await.map(drop),
        driver.try_create(new_volume("w", &[("share", "/squashed")])).await.map(drop),
    ] {
        assert_refused(answer, Code::FailedPrecondition, "without all_squash");
    }
    driver.unpublish(&volume, &target).await.unwrap();
    driver.delete(&volume).await.unwrap();
    assert!(!server::directory(&volume).exists());
    drop(driver);
    drop(exported);
}

/// A directory whose parent directory is on a file system that is not exported. The guest's server offers such a directory
/// by NFS 3 only.
#[tokio::test]
async fn a_volume_whose_share_cannot_be_mounted_is_mounted_directly() {
    let driver = Driver::start().await;
    let above = server::exported("/above");
    fs::create_dir(&above).unwrap();
    server::run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "above"]).arg(&above));
    fs::create_dir_all(above.join("sub")).unwrap();
    symlink(&above, "/above").unwrap();
    let exported = Exported::with("rw,no_root_squash,fsid=9", "*:/export/above/sub");

    let mut volume = by_hand(server::NAME, "/above", "sub");
    let target = driver.target("a");
    let options = ["nfsvers=3", "nolock"];
    let shared = driver.try_publish(publish(&volume, &target, &options)).await;
    assert_refused(shared, Code::Internal, "the server denies access");
    volume.volume_context.insert("directMount".to_owned(), "true".to_owned());
    driver.try_publish(publish(&volume, &target, &options)).await.unwrap();
    fs::write(target.join("file"), "x").unwrap();
    assert_eq!(fs::read_to_string(above.join("sub/file")).unwrap(), "x");
    driver.unpublish(&volume, &target).await.unwrap();
    drop(driver);
    drop(exported);
    fs::remove_file("/above").unwrap();
    server::run(Command::new("umount").arg("-l").arg(&above));
    fs::remove_dir(&above).unwrap();
}
