//! Security problems of other drivers, tried on this one. A test is named after the advisory, or after the cause where
//! there is no advisory. Whatever the driver answers, the canaries of the fixture must not change.

mod handles;
mod links;
mod servers;
mod templates;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::{Code, Status};

use crate::Driver;
use crate::support::{capability, map, publish, unpublish};

/// The answers of all calls that take a volume's handle.
struct Answers {
    delete: Result<(), Status>,
    /// The answers of the calls that fail without a volume.
    others: Vec<Result<(), Status>>,
}

/// Passes a handle to every call that takes one.
async fn ask_all(driver: &Driver, id: &str) -> Answers {
    let (mut controller, mut node) = (driver.controller.controller.clone(), driver.node.node.clone());
    let volume_id = id.to_owned();
    let get = proto::ControllerGetVolumeRequest { volume_id: volume_id.clone() };
    let expand = proto::ControllerExpandVolumeRequest {
        volume_id: volume_id.clone(),
        capacity_range: Some(proto::CapacityRange { required_bytes: 1, limit_bytes: 0 }),
        ..Default::default()
    };
    let modify = proto::ControllerModifyVolumeRequest {
        volume_id: volume_id.clone(),
        mutable_parameters: map(&[("mountPermissions", "0777"), ("uid", "0")]),
        ..Default::default()
    };
    let validate = proto::ValidateVolumeCapabilitiesRequest {
        volume_id: volume_id.clone(),
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter, &[])],
        ..Default::default()
    };
    let target = driver.target("attacked");
    let stats = proto::NodeGetVolumeStatsRequest {
        volume_id: volume_id.clone(),
        volume_path: target.to_str().unwrap().to_owned(),
        ..Default::default()
    };
    let volume = proto::Volume { volume_id, ..Default::default() };
    let others = vec![
        controller.controller_get_volume(get).await.map(drop),
        controller.controller_expand_volume(expand).await.map(drop),
        controller.controller_modify_volume(modify).await.map(drop),
        controller.validate_volume_capabilities(validate).await.map(drop),
        node.node_publish_volume(publish(&volume, &target, &[])).await.map(drop),
        node.node_get_volume_stats(stats).await.map(drop),
    ];
    node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap();
    let delete = proto::DeleteVolumeRequest { volume_id: volume.volume_id, ..Default::default() };
    Answers { delete: controller.delete_volume(delete).await.map(drop), others }
}

/// Deleting must succeed, and every other call must find no volume.
async fn assert_finds_nothing(driver: &Driver, id: &str) {
    let answers = ask_all(driver, id).await;
    assert!(answers.delete.is_ok(), "{id:?}: {:?}", answers.delete);
    for answer in answers.others {
        let code = answer.expect_err(id).code();
        assert!(matches!(code, Code::NotFound | Code::InvalidArgument), "{id:?}: {code:?}");
    }
    assert!(driver.published().is_empty());
}

/// Like [`assert_finds_nothing`], for a text that is not a handle: no server may be contacted.
async fn assert_names_nothing(driver: &Driver, id: &str) {
    let before = driver.mounter.export_mounts();
    assert_finds_nothing(driver, id).await;
    assert_eq!(driver.mounter.export_mounts(), before, "{id:?}: a server was contacted");
}
