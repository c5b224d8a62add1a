//! Handles and attributes that do not name a volume.

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::volume::policy::settings::Settings;
use proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
use tonic::Code;

use super::{assert_finds_nothing, assert_names_nothing};
use crate::settings::fast;
use crate::support::{create, map, publish, unpublish};
use crate::{Driver, PARAMETERS};

#[tokio::test]
async fn cve_2026_3864_dots_in_any_field_of_a_handle() {
    let driver = Driver::start().await;
    for bad in
        ["..", "../canary", "a/../../canary", "canary/..", "../..", "./..", "\0", "../canary\0", "canary/."]
    {
        for id in [
            format!("nas#srv#{bad}##"),
            format!("nas#srv#{bad}#pvc-1#retain"),
            format!("nas#{bad}#pvc-1##"),
            format!("nas#srv#{bad}"),
            format!("nas/srv/{bad}/.."),
            format!("nas:/srv#{bad}"),
            format!("nas:/{bad}#pvc-1"),
            format!("{bad}#pvc-1"),
        ] {
            assert_names_nothing(&driver, &id).await;
        }
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
    // These are not decoded. They are ordinary names of directories that do not exist.
    for id in ["nas#srv#%2e%2e%2fcanary##", "nas#srv#%2e%2e##", "nas:/srv#..%2fcanary"] {
        assert_finds_nothing(&driver, id).await;
    }
}

#[tokio::test]
async fn cve_2026_3864_dots_in_a_volumes_attributes() {
    let driver = Driver::start().await;
    let mut node = driver.node.node.clone();
    for (key, bad) in [
        ("subDir", ".."),
        ("subDir", "../canary"),
        ("subDir", "a/../../canary"),
        ("subDir", "canary/.."),
        ("subDir", "canary/../v.canary"),
        ("subDir", "a\0b"),
        ("subDir", "/"),
        ("share", "/srv/.."),
        ("share", "/srv/../etc"),
        ("share", "srv"),
    ] {
        let mut context = map(&[PARAMETERS[0], PARAMETERS[1], ("subDir", "canary")]);
        context.insert(key.to_owned(), bad.to_owned());
        for direct in ["false", "true"] {
            context.insert("directMount".to_owned(), direct.to_owned());
            let volume = proto::Volume {
                volume_id: "v".to_owned(),
                volume_context: context.clone(),
                ..Default::default()
            };
            let request = publish(&volume, &driver.target("a"), &[]);
            let status = node.node_publish_volume(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{key}: {bad:?}: {}", status.message());
        }
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
}

/// csi-driver-nfs #1179: the fourth field of a handle was joined to a path without a check.
#[tokio::test]
async fn a_field_of_a_handle_that_was_not_checked() {
    let driver = Driver::start().await;
    for field in ["..", "../canary", "/", "", ".", "canary"] {
        assert_finds_nothing(&driver, &format!("nas#srv#absent#{field}#")).await;
        assert_finds_nothing(&driver, &format!("nas#srv#absent#{field}#archive#more#{field}")).await;
    }
}

/// csi-driver-nfs #1241: handles of snapshots had a second parser, which lacked the checks of the first.
#[tokio::test]
async fn a_handle_of_a_source_is_checked_like_that_of_a_volume() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    for id in ["..", "nas#srv#../canary#x#y", "nas:/srv#../canary", "../canary", "/etc", "", "nas#srv##x#"] {
        let id = id.to_owned();
        for source in [
            Type::Volume(VolumeSource { volume_id: id.clone() }),
            Type::Snapshot(SnapshotSource { snapshot_id: id.clone() }),
        ] {
            let mut request = create("v", &PARAMETERS);
            request.volume_content_source = Some(proto::VolumeContentSource { r#type: Some(source) });
            let code = controller.create_volume(request).await.unwrap_err().code();
            assert!(matches!(code, Code::InvalidArgument | Code::NotFound), "{id:?}: {code:?}");
            assert!(!driver.share().join("v").exists());
        }
    }
}

/// csi-driver-nfs bb96fc8c: with an empty field, the path of the volume was that of the share, and the share was removed.
#[tokio::test]
async fn an_empty_field_that_would_name_the_share_itself() {
    let driver = Driver::start().await;
    for id in [
        "nas#srv#",
        "nas#srv##",
        "nas#srv##pvc-1#",
        "nas#srv#.#pvc-1#",
        "nas#srv#/#pvc-1#",
        "nas#srv#//#pvc-1#",
        "nas#srv# #pvc-1#",
        "nas#srv#\t#pvc-1#",
        "nas#srv#canary/#pvc-1#",
        "nas#srv#/canary#pvc-1#",
        "nas#srv#a//b#pvc-1#",
        "nas/srv/",
        "nas//",
        "nas:/srv#",
        "nas:/srv#.",
        "nas:/srv# ",
        "#",
        "##",
        "#####",
        "/",
        " ",
    ] {
        assert_names_nothing(&driver, id).await;
    }
}

/// csi-driver-nfs cea8bb8c, 4f10eb9d: `\` separated components, and the share of a class was not checked.
#[tokio::test]
async fn backslashes_in_handles_and_bad_shares_in_classes() {
    let driver = Driver::start().await;
    for id in ["nas#srv#..\\..\\canary##", "nas#srv#..\\canary##", "nas#srv#\\##"] {
        assert_finds_nothing(&driver, id).await;
    }
    assert_names_nothing(&driver, "nas:/srv#..\\canary").await;
    for share in ["/srv/..", "/../srv", "/srv/./x/..", "srv", "", "/srv\n", "/srv#x", "..", "\\srv"] {
        let request = create("v", &[("server", "nas"), ("share", share)]);
        let status = driver.controller.controller.clone().create_volume(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{share:?}");
    }
}

/// democratic-csi #541: the handle was used as a path.
#[tokio::test]
async fn a_handle_that_is_a_path() {
    let driver = Driver::start().await;
    for id in
        ["../canary", "../../etc", "/etc", "canary", "./canary", "canary/claim", "~", "*", "${PWD}", "-rf"]
    {
        assert_names_nothing(&driver, id).await;
    }
}

/// csi-driver-host-path #644: the handle of an ephemeral volume was used as a path.
#[tokio::test]
async fn a_handle_of_an_ephemeral_volume_that_is_a_path() {
    let settings = Settings { ephemeral_volumes: true, ..fast(&["nas"]) };
    let driver = Driver::start_with(settings).await;
    let mut node = driver.node.node.clone();
    let hostile = ["..", "../../canary", "/etc", "a/../../..", ".", "canary", "\0", "a\nb", "-rf", " "];
    for id in hostile {
        let context = [PARAMETERS[0], PARAMETERS[1], ("csi.storage.k8s.io/ephemeral", "true")];
        let volume =
            proto::Volume { volume_id: id.to_owned(), volume_context: map(&context), ..Default::default() };
        let target = driver.target("a");
        node.node_publish_volume(publish(&volume, &target, &[])).await.unwrap();
        let nodes = driver.share().join(".nfs-subdir-csi/nodes");
        let volumes = || -> Vec<_> {
            let entries = nodes.read_dir().into_iter().flatten().flatten();
            let entries = entries.flat_map(|node| node.path().read_dir().into_iter().flatten().flatten());
            entries.map(|entry| entry.file_name()).filter(|name| name != "alive").collect()
        };
        assert_eq!(volumes().len(), 1, "{id:?}: one directory, in this folder");
        node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap();
        crate::until("its directory is removed", || volumes().is_empty()).await;
    }
}

/// aws-efs-csi-driver #1926: a forged handle deleted a directory that the driver had not made.
#[tokio::test]
async fn a_forged_handle_of_something_that_the_driver_did_not_make() {
    let driver = Driver::start().await;
    for id in ["nas:/srv#canary", "nas:/srv#v.canary", "nas:/srv#volumes"] {
        assert_finds_nothing(&driver, id).await;
    }
}
