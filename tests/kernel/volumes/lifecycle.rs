//! Directories that the controller creates, seen on the server.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nfs_subdir_csi::csi::proto::{self, Volume};
use tonic::Code;

use crate::fixture::{Driver, answer, assert_refused, new_volume, server, until};
use crate::support;

/// Mode, owner and group of the volume's directory.
fn ownership(volume: &Volume) -> (u32, u32, u32) {
    let metadata = server::directory(volume).symlink_metadata().unwrap();
    assert!(metadata.is_dir());
    (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
}

#[tokio::test]
async fn a_new_directory_has_mode_0770_unless_the_class_says_otherwise() {
    let driver = Driver::start().await;
    for (name, parameters, wanted) in [
        ("default", &[][..], (0o770, 0, 0)),
        ("zero", &[("mountPermissions", "0")], (0o770, 0, 0)),
        ("open", &[("mountPermissions", "0777")], (0o777, 0, 0)),
        ("setgid", &[("mountPermissions", "2770")], (0o2770, 0, 0)),
        ("owned", &[("uid", "1000"), ("gid", "2000")], (0o770, 1000, 2000)),
        ("group", &[("gid", "2000"), ("mountPermissions", "2775")], (0o2775, 0, 2000)),
        ("sticky", &[("mountPermissions", "1777")], (0o1777, 0, 0)),
    ] {
        let volume = driver.create(name, parameters).await;
        assert_eq!(ownership(&volume), wanted, "{name}");
        assert_eq!(driver.create(name, parameters).await, volume, "{name} again");
        assert_eq!(ownership(&volume), wanted, "{name} again");
    }
    until("no draft is left", || server::unfinished("/share").is_empty()).await;
}

#[tokio::test]
async fn a_repeated_create_keeps_what_a_pod_has_changed() {
    let driver = Driver::start().await;
    let parameters = [("mountPermissions", "2770"), ("uid", "1000")];
    let volume = driver.create("v", &parameters).await;
    let directory = server::directory(&volume);
    fs::write(directory.join("file"), "x").unwrap();
    std::os::unix::fs::chown(&directory, Some(3000), Some(3000)).unwrap();
    driver.create("v", &parameters).await;
    assert_eq!((ownership(&volume).1, ownership(&volume).2), (3000, 3000));
    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "x");
}

#[tokio::test]
async fn mode_owner_and_group_can_be_modified() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    fs::write(server::directory(&volume).join("file"), "x").unwrap();
    for (parameters, expected) in [
        (&[("uid", "1000")][..], (0o770, 1000, 0)),
        (&[("gid", "2000"), ("mountPermissions", "2750")], (0o2750, 1000, 2000)),
        (&[], (0o2750, 1000, 2000)),
    ] {
        let request = proto::ControllerModifyVolumeRequest {
            volume_id: volume.volume_id.clone(),
            mutable_parameters: support::map(parameters),
            ..Default::default()
        };
        answer(driver.controller_client().controller_modify_volume(request)).await.unwrap();
        assert_eq!(ownership(&volume), expected, "{parameters:?}");
    }
    let file = server::directory(&volume).join("file").metadata().unwrap();
    assert_eq!((file.uid(), file.gid()), (0, 0), "files in the volume are not changed");
}

#[tokio::test]
async fn a_name_in_use_with_another_capacity_already_exists() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    assert_eq!(volume.capacity_bytes, 1 << 30);
    let ask = |required_bytes, limit_bytes| proto::CreateVolumeRequest {
        capacity_range: Some(proto::CapacityRange { required_bytes, limit_bytes }),
        ..new_volume("v", &[])
    };
    for (required, limit) in [(2 << 30, 0), (1 << 20, 1 << 29)] {
        let answer = driver.try_create(ask(required, limit)).await;
        assert_refused(answer, Code::AlreadyExists, "a capacity in bytes of 1073741824");
    }
    assert_eq!(driver.try_create(ask(1 << 20, 2 << 30)).await.unwrap(), volume);
    assert_eq!(driver.try_create(ask(1 << 30, 1 << 30)).await.unwrap(), volume);
}

#[tokio::test]
async fn a_name_in_use_with_another_policy_or_owner_already_exists() {
    let driver = Driver::start().await;
    driver.create("v", &[]).await;
    for parameter in [("onDelete", "retain"), ("uid", "1"), ("mountPermissions", "0700")] {
        let answer = driver.try_create(new_volume("v", &[parameter])).await;
        assert_refused(answer, Code::AlreadyExists, "with another onDelete, mode or owner");
    }
    let answer = driver.try_create(new_volume("v", &[("subDir", "w")])).await;
    assert_refused(answer, Code::AlreadyExists, "with the directory v, not w");
    assert!(!server::exported("/share/w").exists());
}

#[tokio::test]
async fn an_existing_directory_is_not_used_for_a_new_volume() {
    let driver = Driver::start().await;
    let directory = server::exported("/share/ns/old");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("file"), "precious").unwrap();
    let request = new_volume("v", &[("subDir", "ns/old")]);
    for _ in 0..2 {
        let answer = driver.try_create(request.clone()).await;
        assert_refused(answer, Code::AlreadyExists, "nfs-server:/share/ns/old exists");
    }
    let one = driver.create("one", &[("subDir", "of-one")]).await;
    let answer = driver.try_create(new_volume("two", &[("subDir", "of-one")])).await;
    assert_refused(answer, Code::AlreadyExists, "does not belong to this volume");
    assert!(server::directory(&one).is_dir());
    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "precious");
}

#[tokio::test]
async fn the_directory_is_named_after_the_claim() {
    let driver = Driver::start().await;
    let claim = [
        ("csi.storage.k8s.io/pvc/name", "data"),
        ("csi.storage.k8s.io/pvc/namespace", "shop"),
        ("csi.storage.k8s.io/pv/name", "pvc-1"),
    ];
    let volume = driver.create("pvc-1", &claim).await;
    assert_eq!(server::directory(&volume), server::exported("/share/shop-data-pvc-1"));
    assert!(server::directory(&volume).is_dir());
    let pattern = ("pathPattern", "${.PVC.namespace}/${.PVC.name}");
    let nested = driver.create("pvc-2", &[&claim[..], &[pattern]].concat()).await;
    assert_eq!(server::directory(&nested), server::exported("/share/shop/data"));
    let target = driver.publish(&nested, "a", &[]).await;
    fs::write(target.join("file"), "x").unwrap();
    assert!(server::exported("/share/shop/data/file").exists());
}
