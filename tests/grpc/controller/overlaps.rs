//! Volumes that would have the directory of another one, or one inside or around it.

use std::path::{Path, PathBuf};

use nfs_subdir_csi::csi::proto::{self, Volume};
use tonic::{Code, Status};

use super::snapshots::{read, write};
use crate::support::{create, delete, map};
use crate::{Driver, PARAMETERS};

async fn try_make(driver: &Driver, name: &str, pairs: &[(&str, &str)]) -> Result<Volume, Status> {
    let request = create(name, &[&PARAMETERS, pairs].concat());
    let answer = driver.controller.controller.clone().create_volume(request).await;
    answer.map(|answer| answer.into_inner().volume.unwrap())
}

async fn make(driver: &Driver, name: &str, sub_dir: &str) -> Volume {
    try_make(driver, name, &[("subDir", sub_dir)]).await.unwrap()
}

async fn remove(driver: &Driver, volume_id: &str) -> Result<(), Status> {
    let request = proto::DeleteVolumeRequest { volume_id: volume_id.to_owned(), ..Default::default() };
    driver.controller.controller.clone().delete_volume(request).await.map(drop)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, words: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{}", status.message());
    assert!(status.message().contains(words), "no {words:?} in {}", status.message());
}

/// What a volume has on the share besides its directory.
fn names(share: &Path) -> Vec<PathBuf> {
    let entries = |path: PathBuf| path.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let state = share.join(".nfs-subdir-csi");
    let mut names: Vec<_> = entries(state.join("volumes")).chain(entries(state.join("claims"))).collect();
    names.retain(|path| !path.ends_with(".complete"));
    names
}

#[tokio::test]
async fn a_directory_of_another_volume_is_refused_and_so_is_one_inside_or_around_it() {
    let driver = Driver::start().await;
    let first = make(&driver, "first", "ns/claim").await;
    write(&driver.share().join("ns/claim/file"), "precious");
    for on_delete in ["delete", "retain", "archive"] {
        for sub_dir in ["ns/claim", "ns", "ns/claim/deep"] {
            let pairs = [("subDir", sub_dir), ("onDelete", on_delete)];
            refused(try_make(&driver, "second", &pairs).await, Code::AlreadyExists, sub_dir);
            remove(&driver, "nas:/srv#second").await.unwrap();
        }
    }
    let retain = [("subDir", "ns/claim"), ("onDelete", "retain")];
    refused(
        try_make(&driver, "second", &retain).await,
        Code::AlreadyExists,
        "volume \"first\" has the directory",
    );
    assert_eq!(names(&driver.share()).len(), 2, "the refused volumes leave nothing");
    let beside = make(&driver, "second", "ns/claims").await;
    driver.controller.controller.clone().delete_volume(delete(&beside)).await.unwrap();
    assert_eq!(read(&driver.share().join("ns/claim/file")), "precious");
    driver.controller.controller.clone().delete_volume(delete(&first)).await.unwrap();
    make(&driver, "second", "ns").await;
}

#[tokio::test]
async fn a_directory_that_was_taken_over_stays_when_its_volume_is_deleted() {
    let driver = Driver::start().await;
    std::fs::create_dir(driver.share().join("data")).unwrap();
    write(&driver.share().join("data/file"), "precious");
    let volume = try_make(&driver, "v", &[("subDir", "data"), ("onDelete", "retain")]).await.unwrap();
    let modify = proto::ControllerModifyVolumeRequest {
        volume_id: volume.volume_id.clone(),
        mutable_parameters: map(&[("onDelete", "delete")]),
        ..Default::default()
    };
    let modified = driver.controller.controller.clone().controller_modify_volume(modify).await;
    refused(modified, Code::FailedPrecondition, "existed before the volume");
    remove(&driver, &volume.volume_id).await.unwrap();
    assert_eq!(read(&driver.share().join("data/file")), "precious");
}

#[tokio::test]
async fn a_handle_of_csi_driver_nfs_does_not_delete_a_volume_that_has_a_record() {
    let driver = Driver::start().await;
    make(&driver, "v", "ns/claim").await;
    write(&driver.share().join("ns/claim/file"), "precious");
    std::fs::create_dir(driver.share().join("ns/claim/deep")).unwrap();
    for handle in [
        "nas#srv#ns/claim#pvc-1#",
        "nas#srv#ns#pvc-1#delete",
        "nas#srv#ns##archive",
        "nas#srv#ns/claim/deep#pvc-1#",
    ] {
        refused(
            remove(&driver, handle).await,
            Code::FailedPrecondition,
            "volume \"v\" has the directory ns/claim",
        );
    }
    assert_eq!(read(&driver.share().join("ns/claim/file")), "precious");
    assert!(driver.share().join("ns/claim/deep").exists());
}

/// Without its claim, as if the controller had been killed, and with another volume in its place.
#[tokio::test]
async fn a_repeated_deletion_does_not_touch_the_next_volume_of_the_path() {
    let driver = Driver::start().await;
    let old = make(&driver, "old", "claim").await;
    let record = driver.share().join(".nfs-subdir-csi/volumes/old.json");
    let content = read(&record);
    remove(&driver, &old.volume_id).await.unwrap();
    make(&driver, "new", "claim").await;
    write(&driver.share().join("claim/file"), "precious");
    write(&record, &content);
    remove(&driver, &old.volume_id).await.unwrap();
    assert!(!record.exists());
    assert_eq!(read(&driver.share().join("claim/file")), "precious");
    remove(&driver, "nas:/srv#new").await.unwrap();
    assert!(!driver.share().join("claim").exists());
}

/// A controller is killed in DeleteVolume between the two names that it moves aside. The claim is made again and succeeds before the retry.
#[tokio::test]
async fn a_deletion_that_was_killed_between_two_names_does_not_touch_the_next_volume_of_the_path() {
    let driver = Driver::start().await;
    let state = driver.share().join(".nfs-subdir-csi");
    let old = make(&driver, "old", "claim").await;
    let claims = std::fs::read_dir(state.join("claims")).unwrap().map(|entry| entry.unwrap().path());
    let claim = claims.into_iter().find(|path| path.extension().is_some()).unwrap();
    let killed = state.join("processes/killed.1");
    std::fs::create_dir(&killed).unwrap();
    std::fs::rename(claim, killed.join("~name.1.claim.1")).unwrap();
    std::fs::remove_dir(driver.share().join("claim")).unwrap();
    make(&driver, "new", "claim").await;
    write(&driver.share().join("claim/file"), "precious");
    remove(&driver, &old.volume_id).await.unwrap();
    assert_eq!(read(&driver.share().join("claim/file")), "precious");
    assert!(!state.join("volumes/old.json").exists() && state.join("volumes/new.json").exists());
    remove(&driver, "nas:/srv#new").await.unwrap();
    assert!(!driver.share().join("claim").exists());
}

/// A controller is killed in DeleteVolume after it has removed the first name: the one that shows that there is a volume in `ns`.
#[tokio::test]
async fn a_deletion_that_was_killed_after_the_first_name_is_completed_by_the_next_call() {
    let driver = Driver::start().await;
    let volume = make(&driver, "v", "ns/claim").await;
    let inside = driver.share().join(".nfs-subdir-csi/inside");
    let names = |folder: std::fs::DirEntry| std::fs::read_dir(folder.path()).unwrap();
    let all = std::fs::read_dir(&inside).unwrap().flat_map(|folder| names(folder.unwrap()));
    let names: Vec<_> = all
        .map(|name| name.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    assert_eq!(names.len(), 1);
    std::fs::remove_file(&names[0]).unwrap();
    remove(&driver, &volume.volume_id).await.unwrap();
    assert!(!driver.share().join("ns").exists());
    make(&driver, "w", "ns").await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_left_out_of_lists_and_its_volume_is_not_deleted() {
    let driver = Driver::start().await;
    for name in ["a", "c"] {
        make(&driver, name, name).await;
    }
    write(&driver.share().join(".nfs-subdir-csi/volumes/b.json"), "{\"from\": \"the future\"}");
    let list = proto::ListVolumesRequest { starting_token: String::new(), max_entries: 1 };
    let mut controller = driver.controller.controller.clone();
    let first = controller.list_volumes(list).await.unwrap().into_inner();
    let list = proto::ListVolumesRequest { starting_token: first.next_token, max_entries: 1 };
    let second = controller.list_volumes(list).await.unwrap().into_inner();
    let ids = [&first.entries, &second.entries].map(|entries| entries[0].volume.clone().unwrap().volume_id);
    assert_eq!(ids, ["nas:/srv#a", "nas:/srv#c"]);
    assert_eq!(second.next_token, "");
    refused(remove(&driver, "nas:/srv#b").await, Code::Internal, "b.json");
    remove(&driver, "nas:/srv#a").await.unwrap();
}
