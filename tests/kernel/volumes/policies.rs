//! What becomes of a volume's directory when the volume is deleted, seen from the server's side.

use std::fs;
use std::path::PathBuf;

use nfs_subdir_csi::csi::proto::Volume;

use crate::fixture::{Driver, mounts, server, until};

/// A volume with a file in it that says so.
async fn create_with_file(driver: &Driver, name: &str, parameters: &[(&str, &str)], text: &str) -> Volume {
    let volume = driver.create(name, parameters).await;
    fs::write(server::directory(&volume).join("file"), text).unwrap();
    volume
}

fn read(path: impl Into<PathBuf>) -> String {
    fs::read_to_string(server::exported("/share").join(path.into())).unwrap()
}

#[tokio::test]
async fn a_deleted_volume_is_gone_at_once_and_its_files_soon() {
    let driver = Driver::start().await;
    let volume = create_with_file(&driver, "v", &[], "x").await;
    let other = create_with_file(&driver, "other", &[], "of the other").await;
    let target = driver.publish(&volume, "a", &[]).await;
    for number in 0..10 {
        let deep = target.join(format!("{number}/deep"));
        fs::create_dir_all(&deep).unwrap();
        for number in 0..10 {
            fs::write(deep.join(number.to_string()), "x").unwrap();
        }
    }
    driver.unpublish(&volume, &target).await.unwrap();
    driver.delete(&volume).await.unwrap();
    assert_eq!(server::entries("/share"), ["other"]);
    let state = server::exported("/share/.nfs-subdir-csi");
    until("the trash is empty", || state.join("trash").read_dir().unwrap().count() == 0).await;
    assert_eq!(state.join("volumes").read_dir().unwrap().count(), 1, "the record is gone");

    driver.delete(&volume).await.unwrap();
    assert_eq!(fs::read_to_string(server::directory(&other).join("file")).unwrap(), "of the other");
    let again = driver.create("v", &[]).await;
    assert_eq!(server::directory(&again).read_dir().unwrap().count(), 0, "a new volume begins empty");
}

#[tokio::test]
async fn a_volume_with_archive_is_renamed_and_an_earlier_archive_stays() {
    let driver = Driver::start().await;
    for (text, count) in [("first", 1), ("second", 2), ("third", 3)] {
        let volume = create_with_file(&driver, "v", &[("onDelete", "archive")], text).await;
        driver.delete(&volume).await.unwrap();
        driver.delete(&volume).await.unwrap();
        assert_eq!(server::entries("/share").len(), count);
    }
    assert_eq!(read("archived-v/file"), "first");
    let mut others: Vec<String> = Vec::new();
    for name in server::entries("/share") {
        assert!(name == "archived-v" || name.starts_with("archived-v-"), "{name}");
        others.push(read(format!("{name}/file")));
    }
    others.sort();
    assert_eq!(others, ["first", "second", "third"]);
}

#[tokio::test]
async fn the_nfs_client_provisioners_archive_parameter_archives_a_nested_volume() {
    let driver = Driver::start().await;
    let parameters = [("archiveOnDelete", "true"), ("pathPattern", "ns/claim")];
    let volume = create_with_file(&driver, "v", &parameters, "kept").await;
    driver.delete(&volume).await.unwrap();
    assert_eq!(server::entries("/share"), ["archived-ns"], "no empty parent stays behind");
    assert_eq!(read("archived-ns/claim/file"), "kept");
}

#[tokio::test]
async fn a_volume_with_retain_stays_where_it_is_and_its_name_is_free() {
    let driver = Driver::start().await;
    let parameters = [("onDelete", "retain"), ("subDir", "kept")];
    let volume = create_with_file(&driver, "v", &parameters, "x").await;
    driver.delete(&volume).await.unwrap();
    assert_eq!(server::entries("/share"), ["kept"]);
    assert_eq!(read("kept/file"), "x");
    driver.create("v", &[]).await;
    assert_eq!(server::entries("/share"), ["kept", "v"]);
}

#[tokio::test]
async fn parents_that_a_deleted_volume_leaves_empty_go_and_a_siblings_parents_stay() {
    let driver = Driver::start().await;
    let nested = |path: &'static str| [("pathPattern", path)];
    let one = create_with_file(&driver, "one", &nested("ns/app/one"), "1").await;
    let two = create_with_file(&driver, "two", &nested("ns/app/two"), "2").await;
    let three = create_with_file(&driver, "three", &nested("ns/other/three"), "3").await;
    driver.delete(&one).await.unwrap();
    assert_eq!(read("ns/app/two/file"), "2");
    driver.delete(&two).await.unwrap();
    assert!(!server::exported("/share/ns/app").exists());
    assert_eq!(read("ns/other/three/file"), "3");
    driver.delete(&three).await.unwrap();
    assert!(server::entries("/share").is_empty());
}

#[tokio::test]
async fn a_volume_deleted_while_a_pod_has_it_takes_nothing_of_the_node_with_it() {
    let driver = Driver::start().await;
    let volume = create_with_file(&driver, "v", &[], "x").await;
    let target = driver.publish(&volume, "a", &[]).await;
    driver.delete(&volume).await.unwrap();
    let trash = server::exported("/share/.nfs-subdir-csi/trash");
    until("the trash is empty", || trash.read_dir().unwrap().count() == 0).await;
    assert!(fs::write(target.join("new"), "x").is_err(), "the directory is gone");
    driver.unpublish(&volume, &target).await.unwrap();
    assert!(mounts::of_guest().is_empty() && !target.exists());
}
