//! Listing volumes, page by page, on two exports.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use nfs_subdir_csi::csi::proto::{
    ControllerGetVolumeRequest, CreateVolumeRequest, GetCapacityRequest, ListVolumesRequest,
    ListVolumesResponse, Volume,
};
use tonic::{Code, Status};

use crate::configuration::edits::{WITH_CONFIG, configure};
use crate::fixture::{Driver, answer, assert_refused, server};
use crate::support;

async fn driver() -> Driver {
    let export =
        |name: &str, share: &str| format!("  - {{name: {name}, server: 127.0.0.1, share: {share}}}\n");
    configure(&format!("exports:\n{}{}", export("large", "/share"), export("tiny", "/small")));
    Driver::start_with(WITH_CONFIG).await
}

/// Creates volumes on an export.
async fn create(driver: &Driver, export: &str, numbers: std::ops::Range<u32>) -> Vec<Volume> {
    let mut volumes = Vec::new();
    for number in numbers {
        let request = support::create(&format!("v-{number}"), &[("export", export)]);
        // The default size of the tests does not fit on `/small`.
        let request = CreateVolumeRequest { capacity_range: None, ..request };
        volumes.push(driver.try_create(request).await.unwrap());
    }
    volumes
}

async fn page(driver: &Driver, token: &str, limit: i32) -> Result<ListVolumesResponse, Status> {
    let request = ListVolumesRequest { starting_token: token.to_owned(), max_entries: limit };
    answer(driver.controller_client().list_volumes(request)).await
}

fn volumes(page: ListVolumesResponse) -> Vec<Volume> {
    page.entries.into_iter().map(|entry| entry.volume.unwrap()).collect()
}

/// The volumes of all pages from this token on.
async fn rest(driver: &Driver, mut token: String, limit: i32) -> Vec<Volume> {
    let mut all = Vec::new();
    loop {
        let page = page(driver, &token, limit).await.unwrap();
        assert!(limit == 0 || page.entries.len() <= usize::try_from(limit).unwrap());
        token.clone_from(&page.next_token);
        all.extend(volumes(page));
        if token.is_empty() {
            return all;
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_have_every_volume_of_all_exports_once() {
    let driver = driver().await;
    let mut made = create(&driver, "large", 0..25).await;
    made.extend(create(&driver, "tiny", 0..8).await);
    made.sort_by(|a, b| a.volume_id.cmp(&b.volume_id));
    for limit in [0, 1, 7, 25, 33, 1000] {
        assert_eq!(rest(&driver, String::new(), limit).await, made, "{limit} entries a page");
    }
}

#[tokio::test]
async fn a_token_stays_valid_while_volumes_are_deleted_and_the_controller_is_killed() {
    let mut driver = driver().await;
    let mut made = create(&driver, "large", 10..30).await;
    made.extend(create(&driver, "tiny", 10..14).await);
    let first = page(&driver, "", 8).await.unwrap();
    let token = first.next_token.clone();
    let first = volumes(first);
    assert_eq!(first, made[..8]);
    // Deletes the volume that the token names, one that was listed before, and one that was not listed yet.
    for index in [7, 2, 12] {
        driver.delete(&made[index]).await.unwrap();
    }
    driver.controller.kill();
    driver.start_controller_again().await;
    let second = rest(&driver, token.clone(), 5).await;
    let ids = |volumes: &[Volume]| volumes.iter().map(|volume| volume.volume_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&second), [&ids(&made[8..12])[..], &ids(&made[13..])[..]].concat());
    assert_eq!(rest(&driver, token, 5).await, second, "the same token has the same answer");
    let distinct: BTreeSet<String> = ids(&first).into_iter().chain(ids(&second)).collect();
    assert_eq!(distinct.len(), first.len() + second.len());
}

#[tokio::test]
async fn an_unknown_token_is_aborted() {
    let driver = driver().await;
    create(&driver, "large", 0..3).await;
    for token in ["nonsense", "other#v-1", "10.9.9.9:/srv#v-1", "large#", "large#../x", "\n"] {
        assert_eq!(page(&driver, token, 0).await.unwrap_err().code(), Code::Aborted, "{token:?}");
    }
    assert_eq!(page(&driver, "", -1).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_only_looked_up_needs_no_write_on_the_export() {
    let driver = Driver::start().await;
    let made = driver.create("v", &[]).await;
    fs::write(server::directory(&made).join("file"), "data").unwrap();
    let read_only = server::exported("/readonly");
    let id = |name: &str| format!("{}:/readonly#{name}", server::NAME);
    let get = async |name: &str| {
        let request = ControllerGetVolumeRequest { volume_id: id(name) };
        answer(driver.controller_client().controller_get_volume(request)).await
    };
    // First without a state directory, then with the volumes of a share that was exported read-write before.
    assert_refused(get("v").await, Code::NotFound, "there is no volume");
    server::run(
        Command::new("cp")
            .arg("-a")
            .args([".nfs-subdir-csi", "v"])
            .arg(&read_only)
            .current_dir("/export/share"),
    );
    server::run(Command::new("find").arg(&read_only).args([
        "-name",
        "processes",
        "-exec",
        "rm",
        "-r",
        "{}",
        "+",
    ]));
    let before = server::run(Command::new("find").arg(&read_only));
    get("v").await.unwrap();
    assert_refused(get("absent").await, Code::NotFound, "there is no volume");
    let listed = volumes(page(&driver, "", 0).await.unwrap());
    assert!(listed.iter().any(|volume| volume.volume_id == id("v")), "{listed:?}");
    let request = GetCapacityRequest {
        parameters: support::map(&[("server", server::NAME), ("share", "/readonly")]),
        ..Default::default()
    };
    answer(driver.controller_client().get_capacity(request)).await.unwrap();
    let by_handle = Volume { volume_id: id("v"), ..Volume::default() };
    let target = driver.publish(&by_handle, "a", &["ro"]).await;
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "data");
    driver.unpublish(&by_handle, &target).await.unwrap();
    let after = server::run(Command::new("find").arg(&read_only));
    server::run(Command::new("rm").arg("-r").args([read_only.join("v"), read_only.join(".nfs-subdir-csi")]));
    assert_eq!(after, before);
}
