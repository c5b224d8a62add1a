//! What happens to the directory of a deleted volume, seen on the server.

use std::fs;
use std::path::PathBuf;

use nfs_subdir_csi::csi::proto::Volume;

use crate::fixture::{Driver, mounts, server, until};

/// Creates a volume with one file that has this text.
async fn create_with_file(driver: &Driver, name: &str, parameters: &[(&str, &str)], text: &str) -> Volume {
    let volume = driver.create(name, parameters).await;
    fs::write(server::directory(&volume).join("file"), text).unwrap();
    volume
}

fn read(path: impl Into<PathBuf>) -> String {
    fs::read_to_string(server::exported("/share").join(path.into())).unwrap()
}

#[tokio::test]
async fn a_deleted_volume_disappears_at_once_and_its_files_in_the_background() {
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
    until("all deleted directories are removed", || server::unfinished("/share").is_empty()).await;
    assert_eq!(state.join("volumes").read_dir().unwrap().count(), 1, "the record is gone");

    driver.delete(&volume).await.unwrap();
    assert_eq!(fs::read_to_string(server::directory(&other).join("file")).unwrap(), "of the other");
    let again = driver.create("v", &[]).await;
    assert_eq!(server::directory(&again).read_dir().unwrap().count(), 0, "a new volume is empty");
}

#[tokio::test]
async fn archiving_renames_the_volume_and_keeps_earlier_archives() {
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
async fn the_parameter_archive_on_delete_archives_a_nested_volume() {
    let driver = Driver::start().await;
    let parameters = [("archiveOnDelete", "true"), ("pathPattern", "ns/claim")];
    let volume = create_with_file(&driver, "v", &parameters, "kept").await;
    driver.delete(&volume).await.unwrap();
    assert_eq!(server::entries("/share"), ["archived-ns"], "no empty parent is left");
    assert_eq!(read("archived-ns/claim/file"), "kept");
}

#[tokio::test]
async fn a_retained_directory_stays_and_the_name_of_the_volume_can_be_used_again() {
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
async fn empty_parents_are_removed_and_those_of_a_sibling_stay() {
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
async fn deleting_a_published_volume_leaves_the_node_able_to_unpublish() {
    let driver = Driver::start().await;
    let volume = create_with_file(&driver, "v", &[], "x").await;
    let target = driver.publish(&volume, "a", &[]).await;
    driver.delete(&volume).await.unwrap();
    until("all deleted directories are removed", || server::unfinished("/share").is_empty()).await;
    assert!(fs::write(target.join("new"), "x").is_err(), "the directory is gone");
    driver.unpublish(&volume, &target).await.unwrap();
    assert!(mounts::of_guest().is_empty() && !target.exists());
}
