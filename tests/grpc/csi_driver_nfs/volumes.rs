//! Volumes of csi-driver-nfs, under the handles that it gave them.

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::Code;

use crate::Driver;
use crate::support::{capability, map, publish, unpublish};

fn volume(driver: &Driver, handle: &str, dir: &str) -> proto::Volume {
    std::fs::create_dir_all(driver.share().join(dir)).unwrap();
    std::fs::write(driver.share().join(dir).join("file"), dir).unwrap();
    proto::Volume {
        volume_id: handle.to_owned(),
        volume_context: map(&[
            ("server", "nas"),
            ("share", "/srv"),
            ("subdir", dir),
            ("mountPermissions", "0"),
        ]),
        ..Default::default()
    }
}

async fn delete(driver: &Driver, handle: &str) {
    let request = proto::DeleteVolumeRequest { volume_id: handle.to_owned(), ..Default::default() };
    driver.controller.controller.clone().delete_volume(request).await.unwrap();
}

#[tokio::test]
async fn its_volumes_are_deleted_as_their_handles_say() {
    let driver = Driver::start().await;
    for (handle, dir, left) in [
        ("nas#srv#pvc-1##", "pvc-1", ""),
        ("nas#srv#ns/claim#pvc-2#", "ns/claim", ""),
        ("nas#srv#pvc-3##retain", "pvc-3", "pvc-3"),
        ("nas#srv#pvc-4##Archive", "pvc-4", "archived-pvc-4"),
        ("nas#srv#pvc-5", "pvc-5", ""),
        ("nas/srv/pvc-6", "pvc-6", ""),
    ] {
        volume(&driver, handle, dir);
        for _ in 0..2 {
            delete(&driver, handle).await;
        }
        assert_eq!(driver.share().join(dir).exists(), left == dir, "{handle}");
        assert!(left.is_empty() || driver.share().join(left).join("file").exists(), "{handle}");
    }
}

#[tokio::test]
async fn its_volumes_are_validated_expanded_and_found() {
    let driver = Driver::start().await;
    let handle = "nas#srv#pvc-1##retain";
    let foreign = volume(&driver, handle, "pvc-1");
    let mut controller = driver.controller.controller.clone();
    let validate = |id: &str| proto::ValidateVolumeCapabilitiesRequest {
        volume_id: id.to_owned(),
        volume_context: foreign.volume_context.clone(),
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter, &[])],
        ..Default::default()
    };
    let answer = controller.validate_volume_capabilities(validate(handle)).await.unwrap().into_inner();
    assert!(answer.confirmed.is_some(), "{}", answer.message);
    let absent =
        proto::ValidateVolumeCapabilitiesRequest { volume_context: map(&[]), ..validate("nas#srv#none##") };
    let status = controller.validate_volume_capabilities(absent).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let range = Some(proto::CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 });
    let request = proto::ControllerExpandVolumeRequest {
        volume_id: handle.to_owned(),
        capacity_range: range,
        ..Default::default()
    };
    let answer = controller.controller_expand_volume(request).await.unwrap().into_inner();
    assert_eq!(answer.capacity_bytes, 1 << 30);
    let get = proto::ControllerGetVolumeRequest { volume_id: handle.to_owned() };
    let got = controller.controller_get_volume(get).await.unwrap().into_inner().volume.unwrap();
    assert_eq!((got.volume_id.as_str(), got.capacity_bytes), (handle, 1 << 30));
    let list = controller.list_volumes(proto::ListVolumesRequest::default()).await.unwrap().into_inner();
    assert_eq!(
        list.entries[0].volume.as_ref().unwrap().volume_id,
        handle,
        "it is listed under its own handle"
    );

    delete(&driver, handle).await;
    assert!(driver.share().join("pvc-1/file").exists(), "the record has the policy of the handle");
}

#[tokio::test]
async fn its_volumes_are_published_by_their_context() {
    let driver = Driver::start().await;
    let foreign = volume(&driver, "nas#srv#pvc-1##", "pvc-1");
    let mut node = driver.node.node.clone();
    let target = driver.target("a");
    node.node_publish_volume(publish(&foreign, &target, &[])).await.unwrap();
    assert_eq!(driver.published(), std::slice::from_ref(&target));
    node.node_unpublish_volume(unpublish(&foreign, &target)).await.unwrap();

    let mut bare = foreign;
    bare.volume_context.clear();
    node.node_publish_volume(publish(&bare, &target, &[])).await.unwrap();
}
