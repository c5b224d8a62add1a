//! What the services say about the health of volumes and exports when the server has trouble.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto::{self, StorageHealthErrorType, VolumeHealth, VolumeHealthErrorType};

use crate::fixture::{Driver, Place, answer, by_hand, new_volume, server};
use crate::overlap::members::{Member, new_volume as on_shared};
use crate::publish::groups::for_group;
use crate::support::{Client, publish};

/// The longest time that a look at an export may take.
const LOOK: Duration = Duration::from_secs(10);

fn statuses(health: VolumeHealth) -> Vec<(VolumeHealthErrorType, String, String)> {
    let entries = health.health_statuses.into_iter();
    entries.map(|entry| (entry.status(), entry.reason, entry.message)).collect()
}

async fn of_controller(client: &Client, id: &str) -> Vec<(VolumeHealthErrorType, String, String)> {
    let request = proto::ControllerGetVolumeHealthRequest { volume_id: id.to_owned(), ..Default::default() };
    let mut controller = client.controller.clone();
    statuses(answer(controller.controller_get_volume_health(request)).await.unwrap().volume_health.unwrap())
}

async fn of_node(client: &Client, id: &str, path: &str) -> Vec<(VolumeHealthErrorType, String, String)> {
    let request = proto::NodeGetVolumeHealthRequest {
        volume_id: id.to_owned(),
        volume_publish_path: path.to_owned(),
        ..Default::default()
    };
    let mut node = client.node.clone();
    statuses(answer(node.node_get_volume_health(request)).await.unwrap().volume_health.unwrap())
}

async fn of_storage(client: &Client) -> Vec<(StorageHealthErrorType, String, String)> {
    let mut node = client.node.clone();
    let health =
        answer(node.node_get_storage_health(proto::NodeGetStorageHealthRequest::default())).await.unwrap();
    health.backend_health.into_iter().map(|entry| (entry.status(), entry.reason, entry.message)).collect()
}

/// Checks that there is one finding, of this kind, with these words in its message.
#[track_caller]
fn assert_one<S: PartialEq + std::fmt::Debug>(
    found: &[(S, String, String)],
    status: &S,
    reason: &str,
    words: &str,
) {
    let [(own, kind, message)] = found else { panic!("{found:?}") };
    assert_eq!((own, kind.as_str()), (status, reason), "{message}");
    assert!(message.contains(words), "no {words:?} in: {message}");
}

#[tokio::test]
async fn a_full_export_degrades_its_volumes() {
    let driver = Driver::start().await;
    let request =
        proto::CreateVolumeRequest { capacity_range: None, ..new_volume("v", &[("share", "/small")]) };
    let volume = driver.try_create(request).await.unwrap();
    let target = driver.publish(&volume, "a", &[]).await;
    let (controller, node) = (driver.controller.client().await, driver.node.client().await);
    let path = target.to_str().unwrap();
    assert_eq!(of_controller(&controller, &volume.volume_id).await, []);
    assert_eq!(of_node(&node, &volume.volume_id, path).await, []);
    assert_eq!(of_storage(&node).await, []);

    let file = fs::File::create(server::exported("/small").join("rest")).unwrap();
    let block = vec![1; 64 << 10];
    let mut offset = 0;
    while file.write_all_at(&block, offset).is_ok() {
        offset += 64 << 10;
    }
    drop(file);
    let words = "bytes left";
    assert_one(
        &of_controller(&controller, &volume.volume_id).await,
        &VolumeHealthErrorType::Degraded,
        "Full",
        words,
    );
    assert_one(
        &of_node(&node, &volume.volume_id, path).await,
        &VolumeHealthErrorType::Degraded,
        "Full",
        words,
    );
    assert_one(
        &of_storage(&node).await,
        &StorageHealthErrorType::StorageDegraded,
        "Full",
        "nfs-server:/small",
    );
    fs::remove_file(server::exported("/small").join("rest")).unwrap();
    assert_eq!(of_controller(&controller, &volume.volume_id).await, []);
}

#[tokio::test]
async fn a_volume_that_could_not_be_given_to_the_group_of_its_pod_is_degraded_while_that_is_so() {
    let driver = Driver::start().await;
    let top = server::exported("/squashed/v");
    fs::create_dir(&top).unwrap();
    let volume = by_hand(server::NAME, "/squashed", "v");
    let (first, second) = (driver.target("a"), driver.target("b"));
    let node = driver.node.client().await;
    for target in [&first, &second] {
        driver.try_publish(for_group(&volume, target, "4321")).await.unwrap();
        // The repeated publish finds the volume at its target, and does not try to change the group again.
        driver.try_publish(for_group(&volume, target, "4321")).await.unwrap();
        let found = of_node(&node, &volume.volume_id, target.to_str().unwrap()).await;
        assert_one(&found, &VolumeHealthErrorType::Degraded, "GroupRefused", "the group 4321 of its pod");
    }

    let well =
        async |target: &Path| of_node(&node, &volume.volume_id, target.to_str().unwrap()).await.is_empty();
    driver.unpublish(&volume, &first).await.unwrap();
    driver.try_publish(publish(&volume, &first, &[])).await.unwrap();
    assert!(well(&first).await, "this pod has no group");
    assert!(!well(&second).await);
    chown(&top, None, Some(4321)).unwrap();
    fs::set_permissions(&top, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(well(&second).await, "the administrator has given the volume to the group on the server");
}

/// The export that `/share` belongs to has these options until this is dropped.
pub(crate) struct Exported;

impl Exported {
    pub(crate) fn with(options: &str) -> Self {
        let all = format!("{options},insecure,no_subtree_check,fsid=0");
        server::run(Command::new("exportfs").args(["-o", &all, "*:/export"]));
        Self
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        server::run(Command::new("exportfs").arg("-ra"));
    }
}

#[tokio::test]
async fn an_export_that_became_read_only_or_squashes_root_degrades_its_volumes() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    let (controller, node) = (driver.controller.client().await, driver.node.client().await);
    let path = target.to_str().unwrap();
    for (options, words) in [("ro,no_root_squash", "read-only now"), ("rw,root_squash", "no_root_squash")] {
        let changed = Exported::with(options);
        let found = of_controller(&controller, &volume.volume_id).await;
        assert_one(&found, &VolumeHealthErrorType::Degraded, "NotWritable", words);
        let found = of_node(&node, &volume.volume_id, path).await;
        assert_one(&found, &VolumeHealthErrorType::Degraded, "NotWritable", words);
        let found = of_storage(&node).await;
        assert_one(&found, &StorageHealthErrorType::StorageDegraded, "NotWritable", words);
        drop(changed);
        assert_eq!(of_controller(&controller, &volume.volume_id).await, []);
        assert_eq!(of_storage(&node).await, []);
    }
}

#[tokio::test]
async fn a_silent_export_degrades_its_volumes_and_is_unreachable_from_the_node() {
    let place = Place::take(&[]).await;
    let controller = Member::controller(&place, 1, &[]).await;
    let node = Member::node(&place, 2, &[]).await;
    let volume = controller.create(on_shared("v", &[])).await.unwrap();
    let target = place.target("v");
    node.publish(&volume, &target).await.unwrap();
    let path = target.to_str().unwrap();
    assert_eq!(of_node(&node.client(), &volume.volume_id, path).await, []);
    controller.network.lose_replies(true);
    node.network.lose_replies(true);

    let words = "nfs-shared:/share has answered no call for";
    for _ in 0..2 {
        let begun = Instant::now();
        let found = of_controller(&controller.client(), &volume.volume_id).await;
        assert_one(&found, &VolumeHealthErrorType::Degraded, "ExportSilent", words);
        assert!(begun.elapsed() < LOOK, "{:?}", begun.elapsed());
        let begun = Instant::now();
        let found = of_node(&node.client(), &volume.volume_id, path).await;
        assert_one(&found, &VolumeHealthErrorType::Inaccessible, "ExportSilent", words);
        assert!(begun.elapsed() < LOOK, "{:?}", begun.elapsed());
    }
    let found = of_storage(&node.client()).await;
    assert_one(&found, &StorageHealthErrorType::StorageUnreachable, "ExportSilent", words);
    let mut client = controller.client().controller;
    let list = client.controller_list_volume_health(proto::ControllerListVolumeHealthRequest::default());
    let refusal = answer(list).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::DeadlineExceeded);
    assert!(refusal.message().contains(words), "{refusal}");

    controller.network.lose_replies(false);
    node.network.lose_replies(false);
    let deadline = Instant::now() + Duration::from_secs(40);
    let well = async || {
        of_controller(&controller.client(), &volume.volume_id).await.is_empty()
            && of_node(&node.client(), &volume.volume_id, path).await.is_empty()
            && of_storage(&node.client()).await.is_empty()
    };
    while !well().await {
        assert!(Instant::now() < deadline, "the server answers again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    node.unpublish(&volume, &target).await.unwrap();
}
