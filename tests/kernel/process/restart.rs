//! Services that are killed and started again while volumes are in use.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};

use crate::fixture::{Driver, mounts, server};

#[tokio::test]
async fn a_pod_reads_and_writes_while_the_node_service_is_dead_and_a_new_service_unpublishes() {
    let mut driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    fs::write(target.join("other"), "before").unwrap();
    let options = fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).clone();
    let mut open = options.open(target.join("open")).unwrap();
    driver.node.kill();

    open.write_all(b"while dead").unwrap();
    open.sync_all().unwrap();
    let mut content = String::new();
    open.seek(SeekFrom::Start(0)).unwrap();
    open.read_to_string(&mut content).unwrap();
    assert_eq!(content, "while dead");
    assert_eq!(fs::read_to_string(target.join("other")).unwrap(), "before");
    fs::write(target.join("new"), "x").unwrap();
    assert_eq!(fs::read_to_string(server::directory(&volume).join("open")).unwrap(), "while dead");
    drop(open);

    driver.start_node_again().await;
    driver.unpublish(&volume, &target).await.unwrap();
    assert!(mounts::of_guest().is_empty());
    assert!(!target.exists());
}

#[tokio::test]
async fn a_restarted_node_service_finds_what_was_published() {
    let mut driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &["nosuid"]).await;
    let before = mounts::at(&target);
    for _ in 0..2 {
        driver.node.kill();
        driver.start_node_again().await;
        driver.publish(&volume, "a", &["nosuid"]).await;
        assert_eq!(mounts::at(&target), before, "it is the same mount, and nothing is mounted over it");
    }
    fs::write(target.join("file"), "x").unwrap();
    driver.unpublish(&volume, &target).await.unwrap();
    assert!(mounts::of_guest().is_empty() && !target.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_node_service_leaves_volumes_published() {
    let mut driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    assert!(driver.node.stop().success());
    fs::write(target.join("file"), "x").unwrap();
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "x");
    driver.start_node_again().await;
    let second = driver.publish(&volume, "b", &[]).await;
    assert_eq!(fs::read_to_string(second.join("file")).unwrap(), "x");
}

#[tokio::test]
async fn a_restarted_controller_finds_its_volumes_and_empties_the_trash() {
    let mut driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    driver.controller.kill();
    driver.start_controller_again().await;
    assert_eq!(driver.create("v", &[]).await, volume);

    // Simulates a controller that was killed after it had deleted a volume and before it removed the files, in this version
    // and in version 0.1.0.
    let left = ["deleted/left.0.0.0..1", "trash/left.1"]
        .map(|path| server::exported("/share/.nfs-subdir-csi").join(path));
    for left in &left {
        fs::create_dir_all(left.join("deep")).unwrap();
    }
    driver.controller.kill();
    driver.start_controller_again().await;
    driver.delete(&volume).await.unwrap();
    driver.delete(&volume).await.unwrap();
    crate::fixture::until("the files are removed", || !left.iter().any(|left| left.exists())).await;
}
