//! Behaviour that the configuration decides.

use std::collections::BTreeMap;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::linux::NfsSource;
use nfs_subdir_csi::volume::policy::server_pattern::{InlineServers, ServerPattern};
use nfs_subdir_csi::volume::policy::settings::{ExportPolicy, NamedExport, PrivateOptions, Settings};
use tonic::Code;

use crate::support::{create, delete, map, publish, unpublish};
use crate::{Driver, PARAMETERS};

/// A configuration whose default export `fast` is `/srv` on these servers.
pub(crate) fn fast(servers: &[&str]) -> Settings {
    let source = |server: &&str| NfsSource { server: (*server).to_owned(), share: "/srv".to_owned() };
    let export = NamedExport {
        sources: servers.iter().map(source).collect(),
        mount_options: PrivateOptions::default(),
        policy: ExportPolicy::default(),
    };
    Settings {
        exports: BTreeMap::from([("fast".to_owned(), export)]),
        default_export: Some("fast".to_owned()),
        ..Settings::default()
    }
}

async fn volume(driver: &Driver, name: &str) -> proto::Volume {
    let mut controller = driver.controller.controller.clone();
    controller.create_volume(create(name, &[])).await.unwrap().into_inner().volume.unwrap()
}

#[tokio::test]
async fn a_volume_of_a_named_export_follows_the_name() {
    let driver = Driver::start_with(fast(&["nas"])).await;
    let one = volume(&driver, "one").await;
    assert_eq!(one.volume_id, "fast#one");
    assert_eq!(one.volume_context, map(&[("export", "fast"), ("subDir", "one")]));
    let mut node = driver.node.node.clone();
    node.node_publish_volume(publish(&one, &driver.target("a"), &[])).await.unwrap();

    // The export moves to another server, with the same files.
    driver.mounter.serve("new-nas:/srv", &driver.share());
    driver.settings.set(fast(&["new-nas"]));
    node.node_publish_volume(publish(&one, &driver.target("b"), &[])).await.unwrap();
    let table = nfs_subdir_csi::linux::Mounter::table(&*driver.mounter).unwrap();
    assert_eq!(table.at(&driver.target("a")).unwrap().source, "nas:/srv/one");
    assert_eq!(table.at(&driver.target("b")).unwrap().source, "new-nas:/srv/one");
    for pod in ["a", "b"] {
        node.node_unpublish_volume(unpublish(&one, &driver.target(pod))).await.unwrap();
    }
    driver.controller.controller.clone().delete_volume(delete(&one)).await.unwrap();
    assert!(!driver.share().join("one").exists());
}

#[tokio::test]
async fn of_several_servers_the_first_that_answers_is_used() {
    let driver = Driver::start_with(fast(&["dead", "nas"])).await;
    volume(&driver, "one").await;
    assert!(driver.share().join("one").is_dir());
}

#[tokio::test]
async fn an_export_removed_from_the_configuration_is_named_in_the_error() {
    let driver = Driver::start_with(fast(&["nas"])).await;
    let one = volume(&driver, "one").await;
    driver.settings.set(Settings::default());
    let status = driver.controller.controller.clone().delete_volume(delete(&one)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains("export `fast` is not in the driver's configuration"),
        "{}",
        status.message()
    );
    assert!(driver.share().join("one").is_dir());
}

#[tokio::test]
async fn a_server_that_is_not_listed_is_refused_by_controller_and_node() {
    let listed = InlineServers::Listed(vec![ServerPattern::parse("other.example")]);
    let driver = Driver::start_with(Settings { inline_servers: listed, ..Settings::default() }).await;
    let mut controller = driver.controller.controller.clone();
    let status = controller.create_volume(create("v", &PARAMETERS)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    for id in ["nas:/srv#v", "nas#srv#v##", "nas/srv/v"] {
        let request = proto::DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() };
        assert_eq!(
            controller.delete_volume(request).await.unwrap_err().code(),
            Code::FailedPrecondition,
            "{id}"
        );
    }
    let by_hand = proto::Volume {
        volume_id: "x".to_owned(),
        volume_context: map(&[PARAMETERS[0], PARAMETERS[1], ("subDir", "v")]),
        ..Default::default()
    };
    let request = publish(&by_hand, &driver.target("a"), &[]);
    let status = driver.node.node.clone().node_publish_volume(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(driver.mounter.export_mounts(), 0);
}

#[tokio::test]
async fn an_ephemeral_volume_is_private_and_is_removed_with_its_pod() {
    let settings = Settings { ephemeral_volumes: true, ..fast(&["nas"]) };
    let driver = Driver::start_with(settings).await;
    let mut node = driver.node.node.clone();
    let own = |id: &str, more: &[(&str, &str)]| proto::Volume {
        volume_id: id.to_owned(),
        volume_context: map(&[&[("csi.storage.k8s.io/ephemeral", "true")], more].concat()),
        ..Default::default()
    };
    let is_there = |id: &str| {
        let nodes = driver.share().join(".nfs-subdir-csi/nodes").read_dir().unwrap();
        nodes.flatten().any(|node| node.path().join(id).is_dir())
    };
    for (id, pod) in [("csi-1", "a"), ("csi-2", "b")] {
        node.node_publish_volume(publish(&own(id, &[]), &driver.target(pod), &[])).await.unwrap();
        assert!(is_there(id));
    }
    node.node_unpublish_volume(unpublish(&own("csi-1", &[]), &driver.target("a"))).await.unwrap();
    crate::until("its directory is removed", || !is_there("csi-1")).await;
    assert!(is_there("csi-2"));

    for (more, code) in [
        (&[("subDir", "x")][..], Code::InvalidArgument),
        (&[("mountOptions", "x")], Code::InvalidArgument),
        (&[("server", "nas"), ("share", "/")], Code::FailedPrecondition),
    ] {
        let request = publish(&own("csi-3", more), &driver.target("c"), &[]);
        assert_eq!(node.node_publish_volume(request).await.unwrap_err().code(), code, "{more:?}");
    }
    driver.settings.set(fast(&["nas"]));
    let request = publish(&own("csi-3", &[]), &driver.target("c"), &[]);
    assert_eq!(node.node_publish_volume(request).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_volume_keeps_the_deletion_policy_that_it_was_created_with() {
    use nfs_subdir_csi::volume::on_delete::OnDelete;
    let with = |on_delete| Settings { on_delete, ..fast(&["nas"]) };
    let driver = Driver::start_with(with(OnDelete::Archive)).await;
    let one = volume(&driver, "one").await;
    driver.settings.set(with(OnDelete::Delete));
    let two = volume(&driver, "two").await;
    driver.settings.set(with(OnDelete::Retain));
    let mut controller = driver.controller.controller.clone();
    for volume in [&one, &two] {
        controller.delete_volume(delete(volume)).await.unwrap();
    }
    assert!(driver.share().join("archived-one").is_dir() && !driver.share().join("one").exists());
    assert!(!driver.share().join("two").exists() && !driver.share().join("archived-two").exists());

    // For a handle without a record and without a policy of its own, the present configuration decides.
    for (on_delete, name, left) in [
        (OnDelete::Retain, "three", "three"),
        (OnDelete::Archive, "four", "archived-four"),
        (OnDelete::Delete, "five", ""),
    ] {
        driver.settings.set(with(on_delete));
        std::fs::create_dir(driver.share().join(name)).unwrap();
        let volume_id = format!("nas#srv#{name}##");
        let request = proto::DeleteVolumeRequest { volume_id, ..Default::default() };
        controller.delete_volume(request).await.unwrap();
        assert_eq!(driver.share().join(name).exists(), left == name);
        assert!(left.is_empty() || driver.share().join(left).is_dir());
    }
}
