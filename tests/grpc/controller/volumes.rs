//! Creating, validating and deleting volumes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::Code;

use crate::support::{capability, create, delete, map};
use crate::{Driver, PARAMETERS};

const CLAIM: [(&str, &str); 5] = [
    PARAMETERS[0],
    PARAMETERS[1],
    ("csi.storage.k8s.io/pvc/name", "claim"),
    ("csi.storage.k8s.io/pvc/namespace", "ns"),
    ("csi.storage.k8s.io/pv/name", "pvc-1"),
];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&CLAIM[..], more].concat()
}

#[tokio::test]
async fn a_volume_is_a_directory_named_after_its_claim() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let volume =
        controller.create_volume(create("pvc-1", &CLAIM)).await.unwrap().into_inner().volume.unwrap();
    assert_eq!(volume.volume_id, "nas:/srv#pvc-1");
    assert_eq!(volume.capacity_bytes, 1 << 30);
    let context = map(&[("server", "nas"), ("share", "/srv"), ("subDir", "ns-claim-pvc-1")]);
    assert_eq!(volume.volume_context, context);
    assert!(driver.share().join("ns-claim-pvc-1").is_dir());
    let record = std::fs::read_to_string(driver.share().join(".nfs-subdir-csi/volumes/pvc-1.json")).unwrap();
    assert!(record.contains(r#""pvc": "ns/claim""#), "{record}");

    controller.delete_volume(delete(&volume)).await.unwrap();
    assert!(!driver.share().join("ns-claim-pvc-1").exists());
    controller.delete_volume(delete(&volume)).await.unwrap();
    assert_deleted_are_removed(&driver.share()).await;
}

#[tokio::test]
async fn a_repeated_request_gives_the_same_answer_and_a_different_one_is_refused() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let first = controller.create_volume(create("pvc-1", &CLAIM)).await.unwrap().into_inner();
    assert_eq!(controller.create_volume(create("pvc-1", &CLAIM)).await.unwrap().into_inner(), first);

    let mut larger = create("pvc-1", &CLAIM);
    larger.capacity_range = Some(proto::CapacityRange { required_bytes: 2 << 30, limit_bytes: 2 << 30 });
    let elsewhere = create("pvc-1", &with(&[("subDir", "elsewhere")]));
    let kept = create("pvc-1", &with(&[("onDelete", "retain")]));
    for request in [larger, elsewhere, kept] {
        let status = controller.create_volume(request).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{}", status.message());
    }
    assert!(!driver.share().join("elsewhere").exists());
}

/// The two owners are the user and the group of this process, so that the test needs no root.
#[tokio::test]
async fn a_name_in_use_with_another_owner_or_mode_already_exists() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let own = std::fs::metadata("/proc/self").unwrap();
    let (uid, gid) = (own.uid().to_string(), own.gid().to_string());
    let owned = [("uid", uid.as_str()), ("gid", gid.as_str()), ("mountPermissions", "0750")];
    controller.create_volume(create("pvc-1", &with(&owned))).await.unwrap();
    let other_user = (own.uid() + 1).to_string();
    let other_group = (own.gid() + 1).to_string();
    for other in [("uid", other_user.as_str()), ("gid", &other_group), ("mountPermissions", "0700")] {
        let parameters: Vec<_> = owned.iter().filter(|(key, _)| *key != other.0).copied().collect();
        for changed in [parameters.clone(), [&parameters[..], &[other]].concat()] {
            let status = controller.create_volume(create("pvc-1", &with(&changed))).await.unwrap_err();
            assert_eq!(status.code(), Code::AlreadyExists, "{changed:?}: {}", status.message());
        }
    }
    controller.create_volume(create("pvc-1", &with(&owned))).await.unwrap();
    let directory = driver.share().join("ns-claim-pvc-1").metadata().unwrap();
    assert_eq!((directory.uid(), directory.gid(), directory.mode() & 0o7777), (own.uid(), own.gid(), 0o750));
}

#[tokio::test]
async fn a_directory_that_the_driver_did_not_make_is_neither_used_nor_deleted() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let precious = driver.share().join("data/precious");
    std::fs::create_dir(driver.share().join("data")).unwrap();
    std::fs::write(&precious, "x").unwrap();
    let request = create("pvc-1", &with(&[("subDir", "data")]));
    for _ in 0..2 {
        let status = controller.create_volume(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{}", status.message());
    }
    let id = "nas:/srv#pvc-1".to_owned();
    controller
        .delete_volume(proto::DeleteVolumeRequest { volume_id: id, ..Default::default() })
        .await
        .unwrap();
    assert!(precious.exists());
}

#[tokio::test]
async fn a_bad_request_is_refused_before_anything_is_touched() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let mut nameless = create("", &CLAIM);
    nameless.name.clear();
    let mut incapable = create("v", &CLAIM);
    incapable.volume_capabilities.clear();
    let mut block = create("v", &CLAIM);
    block.volume_capabilities[0].access_type =
        Some(proto::volume_capability::AccessType::Block(proto::volume_capability::BlockVolume {}));
    let mut clone = create("v", &CLAIM);
    clone.volume_content_source = Some(proto::VolumeContentSource::default());
    let mut flagged = create("v", &CLAIM);
    flagged.volume_capabilities[0] = capability(Mode::MultiNodeMultiWriter, &["addr=10.0.0.66"]);
    let requests = [
        nameless,
        incapable,
        block,
        clone,
        flagged,
        create("v", &[]),
        create("v", &with(&[("onDelet", "delete")])),
        create("v", &with(&[("subDir", "../x")])),
        create("v", &with(&[("subDir", "${.PVC.uid}")])),
        create("v", &[("server", "nas,addr=1.2.3.4"), ("share", "/srv")]),
    ];
    for request in requests {
        let status = controller.create_volume(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{request:?}: {}", status.message());
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
}

#[tokio::test]
async fn an_export_that_cannot_be_mounted_is_named_in_the_message() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let request = create("v", &[("server", "gone.example"), ("share", "/srv")]);
    let status = controller.create_volume(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(
        status.message().starts_with("mount gone.example:/srv: no NFS server answers"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn a_deleted_volume_is_removed_archived_or_kept_as_its_policy_says() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    for (policy, left) in [("retain", "ns/a"), ("archive", "archived-ns/a"), ("archive", "archived-ns/a-")] {
        let parameters = with(&[("subDir", "ns/a"), ("onDelete", policy)]);
        let volume =
            controller.create_volume(create(policy, &parameters)).await.unwrap().into_inner().volume.unwrap();
        std::fs::write(driver.share().join("ns/a/file"), policy).unwrap();
        controller.delete_volume(delete(&volume)).await.unwrap();
        assert!(find_with_prefix(&driver.share(), left), "{policy}: {left}");
        if policy == "retain" {
            std::fs::rename(driver.share().join("ns"), driver.share().join("kept")).unwrap();
        }
    }
    assert!(!driver.share().join("ns").exists(), "empty parents are removed");
}

#[tokio::test]
async fn deleting_a_malformed_handle_succeeds_without_contacting_a_server() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    for id in [
        "fake-vol-id",
        "nas:/srv#",
        "nas:/srv#..",
        "nas:/srv#a/b",
        "nas:/srv/..#a",
        "#",
        "a#b#..#c#",
        "a#b##c#",
        "nas:srv#x",
    ] {
        let request = proto::DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() };
        controller.delete_volume(request).await.unwrap();
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
}

#[tokio::test]
async fn capabilities_are_confirmed_or_refused_and_an_absent_volume_is_not_found() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let volume =
        controller.create_volume(create("pvc-1", &CLAIM)).await.unwrap().into_inner().volume.unwrap();
    let good = proto::ValidateVolumeCapabilitiesRequest {
        volume_id: volume.volume_id.clone(),
        volume_context: volume.volume_context.clone(),
        volume_capabilities: vec![capability(Mode::SingleNodeSingleWriter, &["nosuid"])],
        ..Default::default()
    };
    let answer = controller.validate_volume_capabilities(good.clone()).await.unwrap().into_inner();
    assert_eq!(answer.confirmed.unwrap().volume_capabilities, good.volume_capabilities);

    let mut other_context = good.clone();
    other_context.volume_context.insert("subDir".to_owned(), "elsewhere".to_owned());
    let mut unknown_mode = good.clone();
    unknown_mode.volume_capabilities = vec![capability(Mode::Unknown, &[])];
    for request in [other_context, unknown_mode] {
        let answer = controller.validate_volume_capabilities(request).await.unwrap().into_inner();
        assert!(answer.confirmed.is_none() && !answer.message.is_empty());
    }
    let absent = proto::ValidateVolumeCapabilitiesRequest {
        volume_id: "nas:/srv#none".to_owned(),
        volume_context: map(&[]),
        ..good
    };
    let status = controller.validate_volume_capabilities(absent).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

fn find_with_prefix(share: &Path, prefix: &str) -> bool {
    let (dir, name) = prefix.rsplit_once('/').unwrap();
    let entries = std::fs::read_dir(share.join(dir)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).any(|found| found.starts_with(name))
}

async fn assert_deleted_are_removed(share: &Path) {
    let deleted = share.join(".nfs-subdir-csi/deleted");
    for _ in 0..500 {
        if deleted.read_dir().unwrap().next().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("deleted directories are not removed after 5 s");
}
