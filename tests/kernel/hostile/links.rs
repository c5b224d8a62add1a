//! A tenant replaces a volume by a link, a file or something else: nothing outside of the volume may change. The tests make
//! these changes on the server, so that the driver does not see them happen.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nfs_subdir_csi::csi::proto::Volume;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::Code;

use crate::canary::fingerprint;
use crate::fixture::{Driver, assert_refused, mounts, new_volume, server, until};
use crate::support::{capability, publish};

/// A directory outside of all shares, by its absolute path.
const OUTSIDE: &str = "/export/canary";

/// With these mount flags the client asks the server about every name, so it sees every change at once.
const UNCACHED: [&str; 2] = ["actimeo=0", "lookupcache=none"];

async fn create(driver: &Driver, name: &str, parameters: &[(&str, &str)]) -> Volume {
    let mut request = new_volume(name, parameters);
    request.volume_capabilities = vec![capability(Mode::MultiNodeMultiWriter, &UNCACHED)];
    driver.try_create(request).await.unwrap()
}

/// Replaces `path` by something else while `check` runs, and restores it afterwards.
async fn with_replaced(path: &Path, replace: impl FnOnce(&Path), check: impl Future<Output = ()>) {
    let aside = path.with_file_name("set-aside");
    fs::rename(path, &aside).unwrap();
    replace(path);
    check.await;
    fs::remove_file(path).unwrap();
    fs::rename(&aside, path).unwrap();
}

async fn assert_all_refuse(driver: &Driver, volume: &Volume) {
    let target = driver.target("hostile");
    let answer = driver.try_publish(publish(volume, &target, &UNCACHED)).await;
    assert_refused(answer, Code::FailedPrecondition, "a symbolic link or is not a directory");
    assert!(mounts::at(&target).is_empty() && !target.exists());
    let answer = driver.delete(volume).await;
    assert_refused(answer, Code::FailedPrecondition, "a symbolic link or is not a directory");
}

async fn assert_works(driver: &Driver, volume: &Volume) {
    let target = driver.publish(volume, "restored", &UNCACHED).await;
    fs::write(target.join("file"), "x").unwrap();
    driver.unpublish(volume, &target).await.unwrap();
    driver.delete(volume).await.unwrap();
    assert!(!server::directory(volume).exists());
}

#[tokio::test]
async fn a_volume_replaced_by_a_link_out_of_the_share_is_neither_published_nor_deleted() {
    let driver = Driver::start().await;
    for (policy, to) in [("delete", OUTSIDE), ("archive", OUTSIDE), ("delete", "canary"), ("archive", "/etc")]
    {
        let volume = create(&driver, "v", &[("onDelete", policy)]).await;
        let link = |path: &Path| symlink(to, path).unwrap();
        with_replaced(&server::directory(&volume), link, assert_all_refuse(&driver, &volume)).await;
        assert_works(&driver, &volume).await;
    }
}

#[tokio::test]
async fn a_volume_replaced_by_a_link_to_another_volume_is_neither_published_nor_deleted() {
    let driver = Driver::start().await;
    let (volume, victim) = (create(&driver, "v", &[]).await, create(&driver, "victim", &[]).await);
    let target = driver.publish(&victim, "victim", &UNCACHED).await;
    fs::write(target.join("data"), "of the victim").unwrap();
    let before = fingerprint(&[server::directory(&victim)]);
    let link = |path: &Path| symlink("victim", path).unwrap();
    with_replaced(&server::directory(&volume), link, assert_all_refuse(&driver, &volume)).await;
    assert_works(&driver, &volume).await;
    assert_eq!(fingerprint(&[server::directory(&victim)]), before);
    assert_eq!(fs::read_to_string(target.join("data")).unwrap(), "of the victim");
}

#[tokio::test]
async fn a_volume_whose_parent_is_replaced_by_a_link_is_neither_published_nor_deleted() {
    let driver = Driver::start().await;
    for (policy, to) in [("delete", "../canary"), ("archive", OUTSIDE), ("delete", "../canary/claim")] {
        let volume = create(&driver, "v", &[("onDelete", policy), ("subDir", "top/ns/claim")]).await;
        let parent = server::directory(&volume).parent().unwrap().to_owned();
        let link = |path: &Path| symlink(to, path).unwrap();
        with_replaced(&parent, link, assert_all_refuse(&driver, &volume)).await;
        assert_works(&driver, &volume).await;
    }
}

#[tokio::test]
async fn a_volume_is_not_created_below_a_link_or_a_file() {
    let driver = Driver::start().await;
    symlink("canary", server::exported("/share/ns")).unwrap();
    fs::write(server::exported("/share/file"), "x").unwrap();
    for below in ["ns/new", "file/new"] {
        let answer = driver.try_create(new_volume("v", &[("subDir", below)])).await;
        assert_refused(answer, Code::FailedPrecondition, "a symbolic link or is not a directory");
    }
}

#[tokio::test]
async fn a_volume_replaced_by_a_file_or_fifo_is_neither_published_nor_deleted() {
    let driver = Driver::start().await;
    let volume = create(&driver, "v", &[]).await;
    let directory = server::directory(&volume);
    let file = |path: &Path| fs::write(path, "x").unwrap();
    with_replaced(&directory, file, assert_all_refuse(&driver, &volume)).await;
    let fifo = |path: &Path| drop(server::run(std::process::Command::new("mkfifo").arg(path)));
    with_replaced(&directory, fifo, assert_all_refuse(&driver, &volume)).await;
    assert_works(&driver, &volume).await;
}

#[tokio::test]
async fn a_state_directory_replaced_by_a_link_is_not_followed() {
    let driver = Driver::start().await;
    symlink("canary", server::exported("/share/.nfs-subdir-csi")).unwrap();
    assert!(driver.try_create(new_volume("v", &[])).await.is_err());
}

#[tokio::test]
async fn deleting_a_volume_full_of_links_removes_nothing_else() {
    let driver = Driver::start().await;
    let elsewhere = server::exported("/share/elsewhere");
    fs::write(&elsewhere, "alive").unwrap();
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    let deep = target.join("deep/er");
    fs::create_dir_all(&deep).unwrap();
    for (number, to) in [OUTSIDE, "../../../canary", "../..", "/", "dangling", "."].iter().enumerate() {
        symlink(to, deep.join(format!("link-{number}"))).unwrap();
    }
    fs::hard_link(&elsewhere, server::directory(&volume).join("deep/hard")).unwrap();
    driver.unpublish(&volume, &target).await.unwrap();
    driver.delete(&volume).await.unwrap();
    until("all deleted directories are removed", || server::unfinished("/share").is_empty()).await;
    assert_eq!(
        (fs::read_to_string(&elsewhere).unwrap().as_str(), elsewhere.metadata().unwrap().nlink()),
        ("alive", 1)
    );
}

/// Here the client still has the old directory in its cache, and may therefore move the link that has replaced it.
#[tokio::test]
async fn a_link_that_the_nfs_client_has_not_seen_yet_is_not_followed() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    driver.unpublish(&volume, &target).await.unwrap();
    let directory = server::directory(&volume);
    fs::rename(&directory, directory.with_file_name("set-aside")).unwrap();
    symlink("canary", &directory).unwrap();

    if driver.try_publish(publish(&volume, &target, &[])).await.is_ok() {
        assert!(!target.join("claim").exists(), "the target of the link was published");
        driver.unpublish(&volume, &target).await.unwrap();
    }
    // The link may be moved to the trash or not. Its target must stay.
    let _ = driver.delete(&volume).await;
    until("all deleted directories are removed", || server::unfinished("/share").is_empty()).await;
}

#[tokio::test]
async fn a_volume_constantly_swapped_for_a_link_is_published_as_itself_or_not_at_all() {
    let driver = Driver::start().await;
    let volume = create(&driver, "v", &[]).await;
    let directory = server::directory(&volume);
    fs::write(directory.join("own"), "x").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (stop, aside) = (Arc::clone(&stop), directory.with_file_name("set-aside"));
        move || {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&directory, &aside).unwrap();
                symlink(OUTSIDE, &directory).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
                fs::remove_file(&directory).unwrap();
                fs::rename(&aside, &directory).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    });
    let target = driver.target("a");
    let (mut published, mut refused) = (0, 0);
    while published < 10 || refused < 10 {
        match driver.try_publish(publish(&volume, &target, &UNCACHED)).await {
            Ok(()) => {
                published += 1;
                let own = target.join("own").exists();
                driver.unpublish(&volume, &target).await.unwrap();
                assert!(own, "something other than the volume was published");
            }
            Err(status) => {
                refused += 1;
                let code = status.code();
                assert!(matches!(code, Code::FailedPrecondition | Code::NotFound), "{status:?}");
            }
        }
        assert!(published + refused < 5000, "published {published}, refused {refused}");
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
}
