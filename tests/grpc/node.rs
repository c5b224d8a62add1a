//! Decisions about publishing and unpublishing. `tests/kernel` tests what the kernel does then.

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::Code;

use crate::support::{capability, create, publish, unpublish};
use crate::{Driver, PARAMETERS};

async fn volume(driver: &Driver, name: &str) -> proto::Volume {
    let mut controller = driver.controller.controller.clone();
    controller.create_volume(create(name, &PARAMETERS)).await.unwrap().into_inner().volume.unwrap()
}

#[tokio::test]
async fn a_publish_makes_the_target_and_an_unpublish_removes_it() {
    let driver = Driver::start().await;
    let volume = volume(&driver, "v").await;
    let mut node = driver.node.node.clone();
    let target = driver.target("a");
    for _ in 0..3 {
        node.node_publish_volume(publish(&volume, &target, &[])).await.unwrap();
    }
    assert_eq!(driver.published(), std::slice::from_ref(&target));
    assert!(target.is_dir());
    for _ in 0..2 {
        node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap();
    }
    assert!(driver.published().is_empty() && !target.exists());
}

#[tokio::test]
async fn a_publish_without_context_finds_the_volume_by_its_record() {
    let driver = Driver::start().await;
    let mut volume = volume(&driver, "v").await;
    volume.volume_context.clear();
    let mut node = driver.node.node.clone();
    node.node_publish_volume(publish(&volume, &driver.target("a"), &[])).await.unwrap();
    volume.volume_id = "nas:/srv#none".to_owned();
    let status = node.node_publish_volume(publish(&volume, &driver.target("b"), &[])).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn a_volume_written_by_hand_is_published_by_its_attributes() {
    let driver = Driver::start().await;
    std::fs::create_dir_all(driver.share().join("old/data")).unwrap();
    let mut by_hand = proto::Volume {
        volume_id: "any text at all".to_owned(),
        volume_context: crate::support::map(&[
            ("Server", "nas"),
            ("SHARE", "/srv/"),
            ("subDir", "/old/data/"),
        ]),
        ..Default::default()
    };
    let mut node = driver.node.node.clone();
    node.node_publish_volume(publish(&by_hand, &driver.target("a"), &[])).await.unwrap();

    for (sub_dir, code) in [
        ("absent", Code::NotFound),
        ("../x", Code::InvalidArgument),
        (".nfs-subdir-csi", Code::InvalidArgument),
    ] {
        by_hand.volume_context.insert("subDir".to_owned(), sub_dir.to_owned());
        let status = node.node_publish_volume(publish(&by_hand, &driver.target("b"), &[])).await.unwrap_err();
        assert_eq!(status.code(), code, "{sub_dir}: {}", status.message());
    }
    by_hand.volume_context.remove("subDir");
    let status = node.node_publish_volume(publish(&by_hand, &driver.target("b"), &[])).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "a whole share that is not listed");
}

#[tokio::test]
async fn a_target_that_is_taken_or_outside_is_refused() {
    let driver = Driver::start().await;
    let (one, two) = (volume(&driver, "one").await, volume(&driver, "two").await);
    let mut node = driver.node.node.clone();
    let target = driver.target("a");
    node.node_publish_volume(publish(&one, &target, &[])).await.unwrap();
    for (request, code) in [
        (publish(&two, &target, &[]), Code::AlreadyExists),
        (publish(&one, &target, &["ro"]), Code::AlreadyExists),
        (publish(&one, &target, &["nosuid"]), Code::AlreadyExists),
        (publish(&one, &driver.share().join("x"), &[]), Code::InvalidArgument),
        (publish(&one, &driver.target("absent/x"), &[]), Code::FailedPrecondition),
    ] {
        let status = node.node_publish_volume(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{}", status.message());
    }
}

#[tokio::test]
async fn files_in_an_unmounted_target_are_not_hidden_by_a_publish() {
    let driver = Driver::start().await;
    let volume = volume(&driver, "v").await;
    let mut node = driver.node.node.clone();
    let target = driver.target("a");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("file"), "x").unwrap();
    let status = node.node_publish_volume(publish(&volume, &target, &[])).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let status = node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap_err();
    assert!(status.message().contains("rmdir"), "{}", status.message());
    assert!(target.join("file").exists());
}

#[tokio::test]
async fn a_volume_for_one_pod_is_refused_to_a_second() {
    let driver = Driver::start().await;
    let volume = volume(&driver, "v").await;
    let mut node = driver.node.node.clone();
    let single = |target: &str| {
        let mut request = publish(&volume, &driver.target(target), &[]);
        request.volume_capability = Some(capability(Mode::SingleNodeSingleWriter, &[]));
        request
    };
    node.node_publish_volume(single("a")).await.unwrap();
    node.node_publish_volume(single("a")).await.unwrap();
    let status = node.node_publish_volume(single("b")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(!driver.target("b").exists());
    node.node_unpublish_volume(unpublish(&volume, &driver.target("a"))).await.unwrap();
    node.node_publish_volume(single("b")).await.unwrap();
}

#[tokio::test]
async fn stats_of_what_is_not_published_are_not_found() {
    let driver = Driver::start().await;
    let volume = volume(&driver, "v").await;
    let mut node = driver.node.node.clone();
    let request = |path: &str| proto::NodeGetVolumeStatsRequest {
        volume_id: volume.volume_id.clone(),
        volume_path: path.to_owned(),
        ..Default::default()
    };
    let target = driver.target("a");
    for path in ["some/path", "/etc", target.to_str().unwrap()] {
        let status = node.node_get_volume_stats(request(path)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{path}");
    }
    node.node_publish_volume(publish(&volume, &target, &[])).await.unwrap();
    let usage =
        node.node_get_volume_stats(request(target.to_str().unwrap())).await.unwrap().into_inner().usage;
    assert_eq!(usage.len(), 2);
    assert!(usage[0].total >= usage[0].used + usage[0].available && usage[0].total > 0);
}
