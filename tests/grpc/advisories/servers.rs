//! Servers and mount options that the administrator has not allowed.

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use nfs_subdir_csi::volume::policy::server_pattern::{InlineServers, ServerPattern};
use nfs_subdir_csi::volume::policy::settings::Settings;
use tonic::Code;

use super::{Answers, ask_all};
use crate::settings::fast;
use crate::support::{capability, create, map, publish, unpublish};
use crate::{Driver, PARAMETERS};

/// csi-driver-nfs #364: whoever can create a pod could mount any server.
#[tokio::test]
async fn a_pod_that_names_its_own_server() {
    let ask = async |settings: &Settings, context: &[(&str, &str)]| {
        let driver = Driver::start_with(settings.clone()).await;
        for share in ["/", "/srv/canary", "/srv/.nfs-subdir-csi", "/srv/.nfs-subdir-csi/deleted", "/other"] {
            driver.mounter.serve(&format!("nas:{share}"), &driver.share());
        }
        let volume = proto::Volume {
            volume_id: "csi-1".to_owned(),
            volume_context: map(&[&[("csi.storage.k8s.io/ephemeral", "true")], context].concat()),
            ..Default::default()
        };
        let mut node = driver.node.node.clone();
        let target = driver.target("a");
        let answer = node.node_publish_volume(publish(&volume, &target, &[])).await.map(drop);
        // The controller mounts the exports of the configuration when it starts.
        let table = nfs_subdir_csi::linux::Mounter::table(&*driver.mounter).unwrap();
        let others = table.iter().filter(|mount| mount.mount_point != target && mount.source != "nas:/srv");
        assert_eq!(others.count(), 0, "{context:?}");
        if answer.is_ok() {
            node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap();
        }
        answer.map_err(|status| status.code())
    };
    let listed = InlineServers::Listed(vec![ServerPattern::parse("nas")]);
    let allowed = Settings { ephemeral_volumes: true, inline_servers: listed, ..fast(&["nas"]) };
    assert_eq!(ask(&Settings::default(), &PARAMETERS).await, Err(Code::FailedPrecondition), "off");
    assert_eq!(ask(&allowed, &PARAMETERS).await, Ok(()), "it is configured");
    assert_eq!(ask(&allowed, &[]).await, Ok(()), "the default export");
    assert_eq!(ask(&allowed, &[("export", "fast")]).await, Ok(()));
    assert_eq!(ask(&allowed, &[("export", "slow")]).await, Err(Code::FailedPrecondition));
    // The server is listed, so that StorageClasses can name any share of it; a pod cannot.
    for share in ["/", "/srv/canary", "/srv/.nfs-subdir-csi", "/srv/.nfs-subdir-csi/deleted", "/other"] {
        let own = [("server", "nas"), ("share", share)];
        assert_eq!(ask(&allowed, &own).await, Err(Code::FailedPrecondition), "{share}");
    }
    for more in [("mountOptions", "suid"), ("subDir", "canary"), ("directMount", "true")] {
        assert_eq!(ask(&allowed, &[more]).await, Err(Code::InvalidArgument), "{more:?}");
    }
}

/// aws-efs-csi-driver #1844: an address was put into the mount options without a check.
#[tokio::test]
async fn a_mount_option_hidden_in_a_name_or_an_address() {
    let driver = Driver::start().await;
    let (mut controller, mut node) = (driver.controller.controller.clone(), driver.node.node.clone());
    let fields = [
        ("server", "nas,addr=10.6.6.6"),
        ("server", "nas addr=10.6.6.6"),
        ("server", "nas\nx"),
        ("server", "nas\0"),
        ("server", "nas\\,x"),
        ("server", "-o"),
        ("server", ""),
        ("server", "nas:/other"),
        ("server", "nas#x"),
        ("share", "/srv\n"),
        ("share", "/srv\0/x"),
        ("share", "/srv\r"),
        ("share", "/srv#x"),
        ("mountOptions", "hard\naddr=10.6.6.6"),
        ("mountOptions", "addr=10.6.6.6"),
        ("mountOptions", "hard,addr=10.6.6.6"),
        ("mountOptions", "mountaddr=10.6.6.6"),
        ("mountOptions", "mounthost=evil"),
        ("mountOptions", "vers=4.2\0"),
    ];
    for (key, bad) in fields {
        let mut context = map(&[PARAMETERS[0], PARAMETERS[1], ("subDir", "canary")]);
        context.insert(key.to_owned(), bad.to_owned());
        let volume =
            proto::Volume { volume_id: "v".to_owned(), volume_context: context, ..Default::default() };
        let request = publish(&volume, &driver.target("a"), &[]);
        let status = node.node_publish_volume(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{key}: {bad:?}: {}", status.message());

        let mut request = create("v", &PARAMETERS);
        if key == "mountOptions" {
            request.volume_capabilities = vec![capability(Mode::MultiNodeMultiWriter, &[bad])];
        } else {
            request.parameters.insert(key.to_owned(), bad.to_owned());
        }
        let status = controller.create_volume(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{key}: {bad:?}: {}", status.message());
        let mut request = create("v", &PARAMETERS);
        request.secrets = map(&[("mountOptions", bad)]);
        if key == "mountOptions" {
            let status = controller.create_volume(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "secret: {bad:?}");
        }
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
}

/// csi-driver-nfs: `server` was used without a check, so a PersistentVolume could make the controller mount any server.
#[tokio::test]
async fn a_forged_volume_on_an_attackers_server() {
    let listed = InlineServers::Listed(vec![ServerPattern::parse("*.lab.example")]);
    let driver = Driver::start_with(Settings { inline_servers: listed, ..Settings::default() }).await;
    for id in
        ["nas#srv#canary##", "nas#srv#canary", "nas/srv/canary", "nas:/srv#canary", "lab.example:/srv#v"]
    {
        let Answers { delete, others } = ask_all(&driver, id).await;
        assert_eq!(delete.unwrap_err().code(), Code::FailedPrecondition, "{id}");
        for (number, answer) in others.into_iter().enumerate() {
            // Statistics look at the published path, not at the handle.
            let code = if number == 5 { Code::NotFound } else { Code::FailedPrecondition };
            assert_eq!(answer.unwrap_err().code(), code, "{id}, call {number}");
        }
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
}
