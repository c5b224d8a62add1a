//! PersistentVolumes that are a share itself, as csi-driver-nfs publishes it without `subDir`.

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use nfs_subdir_csi::linux::{Mounter, NfsSource};
use nfs_subdir_csi::volume::policy::settings::Settings;
use tonic::Code;

use crate::support::{capability, create, delete, map, publish, unpublish};
use crate::{Driver, PARAMETERS};

fn listed(server: &str, share: &str) -> Settings {
    let source = NfsSource { server: server.to_owned(), share: share.to_owned() };
    Settings { whole_shares: vec![source], ..Settings::default() }
}

/// A PersistentVolume that somebody wrote for csi-driver-nfs. `subDir` is empty, as a chart renders it.
fn whole(handle: &str) -> proto::Volume {
    proto::Volume {
        volume_id: handle.to_owned(),
        volume_context: map(&[&PARAMETERS[..], &[("subDir", ""), ("mountOptions", "nfsvers=4.1")]].concat()),
        ..Default::default()
    }
}

async fn validate(
    driver: &Driver,
    volume: &proto::Volume,
) -> Result<proto::ValidateVolumeCapabilitiesResponse, tonic::Status> {
    let request = proto::ValidateVolumeCapabilitiesRequest {
        volume_id: volume.volume_id.clone(),
        volume_context: volume.volume_context.clone(),
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter, &[])],
        ..Default::default()
    };
    let mut controller = driver.controller.controller.clone();
    controller.validate_volume_capabilities(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_share_that_is_listed_is_published_validated_and_never_deleted() {
    let driver = Driver::start_with(listed("NAS", "/srv")).await;
    std::fs::write(driver.share().join("file"), "x").unwrap();
    let mut node = driver.node.node.clone();
    // Handles of all forms: any text, one of csi-driver-nfs that names the share, and one that looks like ours.
    for (number, handle) in
        ["archive", "nas#srv##archive#", "nas:/srv#archive", "old#archive"].into_iter().enumerate()
    {
        let volume = whole(handle);
        let target = driver.target(&number.to_string());
        for _ in 0..2 {
            node.node_publish_volume(publish(&volume, &target, &[])).await.unwrap();
        }
        assert_eq!(driver.mounter.table().unwrap().at(&target).unwrap().source, "nas:/srv");
        assert!(validate(&driver, &volume).await.unwrap().confirmed.is_some(), "{handle}");
        node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap();
        if !handle.starts_with("old#") {
            driver.controller.controller.clone().delete_volume(delete(&volume)).await.unwrap();
        }
        assert!(driver.share().join("file").exists() && !driver.share().join(".nfs-subdir-csi").exists());
    }
}

#[tokio::test]
async fn a_share_that_is_not_listed_is_refused_by_every_call_with_the_name_of_the_switch() {
    for settings in [Settings::default(), listed("nas", "/srv/other"), listed("nas2", "/srv")] {
        let driver = Driver::start_with(settings).await;
        let volume = whole("archive");
        let mut node = driver.node.node.clone();
        let published = node.node_publish_volume(publish(&volume, &driver.target("a"), &[])).await.map(drop);
        for status in [published.unwrap_err(), validate(&driver, &volume).await.map(drop).unwrap_err()] {
            assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
            assert!(
                status.message().contains("wholeShares") && status.message().contains("subDir"),
                "{status}"
            );
        }
        assert_eq!(driver.mounter.export_mounts(), 0);
    }
}

/// csi-driver-nfs publishes the share itself for this, and here a pod would silently get an empty directory.
#[tokio::test]
async fn a_pod_that_names_a_whole_share_is_told_what_differs() {
    let driver = Driver::start_with(Settings { ephemeral_volumes: true, ..listed("nas", "/srv") }).await;
    let mut volume = whole("csi-1");
    volume.volume_context = map(&[&PARAMETERS[..], &[("csi.storage.k8s.io/ephemeral", "true")]].concat());
    let mut node = driver.node.node.clone();
    let status = node.node_publish_volume(publish(&volume, &driver.target("a"), &[])).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(
        status.message().contains("empty directory") && status.message().contains("csi-driver-nfs"),
        "{status}"
    );
    assert_eq!(driver.mounter.export_mounts(), 0);
}

#[tokio::test]
async fn a_share_holds_volumes_or_is_published_itself_and_not_both() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    controller.create_volume(create("v", &PARAMETERS)).await.unwrap();
    driver.settings.set(listed("nas", "/srv"));
    let mut node = driver.node.node.clone();
    let volume = whole("archive");
    let published = node.node_publish_volume(publish(&volume, &driver.target("a"), &[])).await.map(drop);
    for status in [published.unwrap_err(), validate(&driver, &volume).await.map(drop).unwrap_err()] {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains("cannot be published itself"), "{status}");
    }
    assert!(driver.published().is_empty());
    let status = controller.create_volume(create("w", &PARAMETERS)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("wholeShares"), "{status}");
}

#[tokio::test]
async fn a_volume_without_a_record_is_validated_by_its_context_as_it_is_published() {
    let driver = Driver::start().await;
    std::fs::create_dir_all(driver.share().join("old/data")).unwrap();
    let by_hand = |sub_dir: &str| proto::Volume {
        volume_id: "any text at all".to_owned(),
        volume_context: map(&[&PARAMETERS[..], &[("subDir", sub_dir)]].concat()),
        ..Default::default()
    };
    assert!(validate(&driver, &by_hand("old/data")).await.unwrap().confirmed.is_some());
    let status = validate(&driver, &by_hand("absent")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let nothing = proto::Volume { volume_context: map(&[]), ..by_hand("") };
    assert_eq!(validate(&driver, &nothing).await.unwrap_err().code(), Code::NotFound);
}
