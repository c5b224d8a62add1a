//! Wrong servers, shares and names: each call ends soon (see `fixture::answer`) and says what is wrong.

use std::fs;
use std::net::TcpListener;

use nfs_subdir_csi::csi::proto::{CreateVolumeRequest, Volume};
use tonic::Code;

use crate::fixture::{Driver, assert_refused, by_hand, mounts, new_volume, server};
use crate::support::publish;

/// Publishes a volume and expects a failure that leaves nothing behind.
async fn assert_publish_fails(driver: &Driver, volume: &Volume, flags: &[&str], words: &str) {
    let target = driver.target("a");
    let answer = driver.try_publish(publish(volume, &target, flags)).await;
    assert_refused(answer, Code::Internal, words);
    assert!(!target.exists() && mounts::at(&target).is_empty());
    assert!(driver.export_mounts().is_empty());
    assert_eq!(mounts::superblocks(), 0);
}

#[tokio::test]
async fn a_share_that_does_not_exist_is_named_in_the_error() {
    let driver = Driver::start().await;
    let volume = by_hand(server::NAME, "/wrong", "v");
    assert_publish_fails(&driver, &volume, &[], "mount nfs-server:/wrong (NFS 4.2)").await;
    assert_publish_fails(&driver, &volume, &[], "the server has no such share").await;
    assert_publish_fails(&driver, &volume, &["nfsvers=4.1"], "the server has no such share").await;
    assert_publish_fails(&driver, &volume, &["nfsvers=3"], "mount nfs-server:/wrong (NFS 3)").await;
    let request = new_volume("v", &[("share", "/wrong")]);
    assert_refused(driver.try_create(request).await, Code::Internal, "the server has no such share");
}

#[tokio::test]
async fn a_closed_port_is_named_in_the_error() {
    let driver = Driver::start().await;
    let volume = by_hand(server::NAME, "/share", "v");
    let words = "no NFS server answers at 127.0.0.1:1 (Connection refused";
    assert_publish_fails(&driver, &volume, &["port=1"], words).await;
    assert_publish_fails(&driver, &volume, &["port=1", "nfsvers=3"], words).await;
    assert_publish_fails(&driver, &volume, &["port=1"], "is TCP port 1 open").await;
}

#[tokio::test]
async fn a_port_that_never_answers_is_named_in_the_error() {
    let driver = Driver::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let volume = by_hand(server::NAME, "/share", "v");
    let words = format!("no NFS server answers at 127.0.0.1:{port}");
    assert_publish_fails(&driver, &volume, &[&format!("port={port}")], &words).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named_in_the_error() {
    let driver = Driver::start().await;
    let words = "cannot resolve the server's name `no-such-host.test`";
    assert_publish_fails(&driver, &by_hand("no-such-host.test", "/share", "v"), &[], words).await;
    let request = new_volume("v", &[("server", "no-such-host.test")]);
    assert_refused(driver.try_create(request).await, Code::Internal, words);
}

#[tokio::test]
async fn a_mount_option_that_does_not_exist_is_named_before_anything_is_mounted() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.target("a");
    let answer = driver.try_publish(publish(&volume, &target, &["no-such-option"])).await;
    assert_refused(answer, Code::InvalidArgument, "mount option `no-such-option` does not exist for NFS");
    assert!(!target.exists() && driver.export_mounts().is_empty());
}

#[tokio::test]
async fn a_volume_whose_directory_is_gone_is_not_found() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    fs::remove_dir(server::directory(&volume)).unwrap();
    // The node service mounts the share only when it publishes, so it has not cached the directory.
    driver.create("other", &[]).await;
    let target = driver.target("a");
    let answer = driver.try_publish(publish(&volume, &target, &["lookupcache=none"])).await;
    assert_refused(answer, Code::NotFound, "nfs-server:/share/v");
    assert!(!target.exists());
}

#[tokio::test]
async fn creating_a_volume_on_an_export_that_squashes_root_fails_and_names_the_option() {
    let driver = Driver::start().await;
    let answer = driver.try_create(new_volume("v", &[("share", "/squashed")])).await;
    assert_refused(answer, Code::FailedPrecondition, "no_root_squash");
    assert!(server::entries("/squashed").is_empty());
}

#[tokio::test]
async fn an_export_that_squashes_root_works_in_a_directory_that_belongs_to_nobody() {
    let driver = Driver::start().await;
    let own = server::exported("/squashed/for-nobody");
    fs::create_dir_all(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    let request = new_volume("v", &[("share", "/squashed/for-nobody")]);
    let volume = driver.try_create(request).await.unwrap();
    let target = driver.publish(&volume, "a", &[]).await;
    fs::write(target.join("file"), "x").unwrap();
    let owned = new_volume("owned", &[("share", "/squashed/for-nobody"), ("uid", "1000")]);
    assert_refused(driver.try_create(owned).await, Code::FailedPrecondition, "no_root_squash");
    driver.unpublish(&volume, &target).await.unwrap();
    driver.delete(&volume).await.unwrap();
}

#[tokio::test]
async fn creating_a_volume_on_a_read_only_export_fails_and_says_so() {
    let driver = Driver::start().await;
    let answer = driver.try_create(new_volume("v", &[("share", "/readonly")])).await;
    assert_refused(answer, Code::Internal, "nfs-server:/readonly/.nfs-subdir-csi: Read-only file system");
}

#[tokio::test]
async fn creating_a_volume_on_a_full_export_fails_and_succeeds_once_there_is_room() {
    let driver = Driver::start().await;
    // Without a capacity, so that the driver begins and the server runs out of space during the work.
    let small =
        |name| CreateVolumeRequest { capacity_range: None, ..new_volume(name, &[("share", "/small")]) };
    driver.try_create(small("first")).await.unwrap();
    let filler = server::exported("/small/filler");
    fs::create_dir(&filler).unwrap();
    // Writes large files and then smaller ones, until no block is left. The file system reserves more than it needs until
    // everything is on the disk.
    for (round, size) in [1 << 20, 1 << 12, 1 << 10, 1, 1].into_iter().enumerate() {
        for number in 0.. {
            let file = filler.join(format!("{round}-{number}"));
            if fs::write(&file, vec![1; size]).and_then(|()| fs::File::open(&file)?.sync_all()).is_err() {
                break;
            }
        }
    }
    assert_refused(driver.try_create(small("second")).await, Code::ResourceExhausted, "No space left");
    let large = new_volume("second", &[("share", "/small")]);
    assert_refused(driver.try_create(large).await, Code::OutOfRange, "bytes are asked for");
    assert!(server::unfinished("/small").is_empty(), "no unfinished volume is left");
    for entry in filler.read_dir().unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let volume = driver.try_create(small("second")).await.unwrap();
    let target = driver.publish(&volume, "a", &[]).await;
    fs::write(target.join("file"), "x").unwrap();
}
