//! Changes of volumes that exist.

use std::os::unix::fs::MetadataExt;

use nfs_subdir_csi::csi::proto;
use tonic::Code;

use crate::support::{create, delete, map};
use crate::{Driver, PARAMETERS};

fn expand(id: &str, required: i64, limit: i64) -> proto::ControllerExpandVolumeRequest {
    proto::ControllerExpandVolumeRequest {
        volume_id: id.to_owned(),
        capacity_range: Some(proto::CapacityRange { required_bytes: required, limit_bytes: limit }),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_volume_grows_and_never_shrinks() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let volume =
        controller.create_volume(create("v", &PARAMETERS)).await.unwrap().into_inner().volume.unwrap();
    let id = &volume.volume_id;
    for (required, capacity) in [(2 << 30, 2 << 30), (2 << 30, 2 << 30), (1 << 30, 2 << 30)] {
        let answer = controller.controller_expand_volume(expand(id, required, 0)).await.unwrap().into_inner();
        assert_eq!((answer.capacity_bytes, answer.node_expansion_required), (capacity, false));
    }
    for (request, code) in [
        (expand(id, 1 << 30, 1 << 30), Code::OutOfRange),
        (expand(id, 1 << 60, 0), Code::OutOfRange),
        (expand("nas:/srv#none", 1, 0), Code::NotFound),
        (expand("", 1, 0), Code::InvalidArgument),
        (
            proto::ControllerExpandVolumeRequest { capacity_range: None, ..expand(id, 0, 0) },
            Code::InvalidArgument,
        ),
    ] {
        let status = controller.controller_expand_volume(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{}", status.message());
    }
    // The new capacity belongs to the volume: a repeated CreateVolume must ask for it.
    let mut same = create("v", &PARAMETERS);
    same.capacity_range = Some(proto::CapacityRange { required_bytes: 2 << 30, limit_bytes: 0 });
    assert_eq!(
        controller.create_volume(same).await.unwrap().into_inner().volume.unwrap().capacity_bytes,
        2 << 30
    );
}

#[tokio::test]
async fn policy_and_mode_can_be_modified_and_the_directory_cannot() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let volume =
        controller.create_volume(create("v", &PARAMETERS)).await.unwrap().into_inner().volume.unwrap();
    let modify = |id: &str, pairs: &[(&str, &str)]| proto::ControllerModifyVolumeRequest {
        volume_id: id.to_owned(),
        mutable_parameters: map(pairs),
        ..Default::default()
    };
    let change = [("onDelete", "retain"), ("mountPermissions", "2750")];
    for _ in 0..2 {
        controller.controller_modify_volume(modify(&volume.volume_id, &change)).await.unwrap();
    }
    let directory = driver.share().join("v");
    assert_eq!(directory.metadata().unwrap().mode() & 0o7777, 0o2750);
    for (id, pairs, code) in [
        (volume.volume_id.as_str(), &[("subDir", "x")][..], Code::InvalidArgument),
        ("nas:/srv#none", &change, Code::NotFound),
        ("non-existing-volume-id", &[], Code::NotFound),
    ] {
        let status = controller.controller_modify_volume(modify(id, pairs)).await.unwrap_err();
        assert_eq!(status.code(), code, "{id}");
    }
    controller.delete_volume(delete(&volume)).await.unwrap();
    assert!(directory.exists(), "the modified policy applies");
}

#[tokio::test]
async fn mutable_parameters_override_those_of_the_class() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let mut request = create("v", &[PARAMETERS[0], PARAMETERS[1], ("onDelete", "delete")]);
    request.mutable_parameters = map(&[("onDelete", "retain")]);
    let volume = controller.create_volume(request.clone()).await.unwrap().into_inner().volume.unwrap();
    controller.create_volume(request.clone()).await.unwrap();
    controller.delete_volume(delete(&volume)).await.unwrap();
    assert!(driver.share().join("v").exists());
    request.name = "w".to_owned();
    request.mutable_parameters = map(&[("XXX_FakeKey", "x")]);
    assert_eq!(controller.create_volume(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_existing_directory_is_taken_over_with_the_policy_retain() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let data = driver.share().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("file"), "x").unwrap();
    let parameters =
        [PARAMETERS[0], PARAMETERS[1], ("subDir", "data"), ("onDelete", "retain"), ("uid", "12345")];
    let volume =
        controller.create_volume(create("v", &parameters)).await.unwrap().into_inner().volume.unwrap();
    assert_ne!(data.metadata().unwrap().uid(), 12345, "the existing directory is not changed");
    controller.delete_volume(delete(&volume)).await.unwrap();
    assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "x");
}

#[tokio::test]
async fn records_of_a_later_version_are_used_or_refused_and_never_damaged() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let volume =
        controller.create_volume(create("v", &PARAMETERS)).await.unwrap().into_inner().volume.unwrap();
    let path = driver.temporary.path().join("share").join(".nfs-subdir-csi/volumes/v.json");
    let read = || -> serde_json::Value { serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap() };

    // After a rollback: the later version has added a field that may be ignored.
    let mut record = read();
    record["later"] = serde_json::json!({"of": "another version"});
    std::fs::write(&path, record.to_string()).unwrap();
    controller.controller_expand_volume(expand(&volume.volume_id, 3 << 30, 0)).await.unwrap();
    assert_eq!(read()["later"], record["later"]);
    assert_eq!(read()["capacity_bytes"], 3_u64 << 30);

    // It has added one that may not be ignored.
    record["format"] = serde_json::json!(2);
    std::fs::write(&path, record.to_string()).unwrap();
    for status in [
        controller.delete_volume(delete(&volume)).await.unwrap_err(),
        controller.controller_expand_volume(expand(&volume.volume_id, 4 << 30, 0)).await.unwrap_err(),
        controller.create_volume(create("v", &PARAMETERS)).await.unwrap_err(),
    ] {
        assert!(status.message().contains("format 2"), "{status}");
    }
    assert!(driver.temporary.path().join("share").join("v").is_dir());
    assert_eq!(read(), record);
}
