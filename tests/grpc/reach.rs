//! What of the mount options of a StorageClass becomes a part of a handle. `tests/kernel` tests that the server is reached.

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use nfs_subdir_csi::volume::policy::server_pattern::ServerPattern;
use nfs_subdir_csi::volume::policy::settings::{PrivateOptions, Settings};
use tonic::{Code, Status};

use crate::settings::fast;
use crate::support::{capability, create, delete, map};
use crate::{Driver, PARAMETERS};

async fn volume(
    driver: &Driver,
    parameters: &[(&str, &str)],
    flags: &[&str],
    secret: &[(&str, &str)],
) -> Result<proto::Volume, Status> {
    let mut request = create("v", parameters);
    request.volume_capabilities = vec![capability(Mode::MultiNodeMultiWriter, flags)];
    request.secrets = map(secret);
    let mut controller = driver.controller.controller.clone();
    controller.create_volume(request).await.map(|answer| answer.into_inner().volume.unwrap())
}

#[tokio::test]
async fn port_transport_and_version_are_in_the_handle_and_no_other_option_and_no_secret() {
    for (flags, secret, prefix) in [
        (&["hard", "timeo=600", "sec=krb5", "noresvport", "tcp", "port=2049"][..], "", ""),
        (&["nfsvers=4.1", "hard"], "", "vers=4.1@"),
        (&["port=1", "port=20490,mountport=33", "v3"], "", "mountport=33,port=20490,vers=3@"),
        (&["hard"], "port=20491", ""),
        (&["port=20490"], "port=20491,vers=3", "port=20490@"),
    ] {
        let driver = Driver::start().await;
        let volume = volume(&driver, &PARAMETERS, flags, &[("mountOptions", secret)]).await.unwrap();
        assert_eq!(volume.volume_id, format!("{prefix}nas:/srv#v"));
        assert_eq!(volume.volume_context, map(&[&PARAMETERS[..], &[("subDir", "v")]].concat()));
        let record = std::fs::read_to_string(driver.share().join(".nfs-subdir-csi/volumes/v.json")).unwrap();
        assert_eq!(record.contains("\"reach\""), !prefix.is_empty(), "{record}");
        assert!(!record.contains("20491") && !record.contains("timeo"), "{record}");
        // The handle of the same volume from before there was such a part.
        let old = proto::Volume { volume_id: "nas:/srv#v".to_owned(), ..Default::default() };
        driver.controller.controller.clone().delete_volume(delete(&old)).await.unwrap();
        assert!(!driver.share().join("v").exists());
    }
}

#[tokio::test]
async fn a_handle_that_would_be_too_long_is_refused_and_the_configuration_is_named() {
    let share = format!("/{}", "s".repeat(110));
    let driver = Driver::start().await;
    driver.mounter.serve(&format!("nas:{share}"), &driver.share());
    let parameters = [("server", "nas"), ("share", share.as_str())];
    let status = volume(&driver, &parameters, &["port=20490", "vers=4.2"], &[]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("give the export a name in the driver's configuration"), "{status}");
    assert_eq!(driver.mounter.export_mounts(), 0);
    volume(&driver, &parameters, &[], &[]).await.unwrap();
}

#[tokio::test]
async fn what_the_configuration_says_is_not_in_the_handle() {
    let rule = |pattern: &str, option: &str| {
        (vec![ServerPattern::parse(pattern)], PrivateOptions(vec![option.to_owned()]))
    };
    let inline_options = vec![rule("other", "port=1"), rule("nas", "port=20490"), rule("*", "port=2")];
    let driver = Driver::start_with(Settings { inline_options, ..Settings::default() }).await;
    for (flags, prefix) in [(&["port=20490"][..], ""), (&[], ""), (&["port=20492"], "port=20492@")] {
        let volume = volume(&driver, &PARAMETERS, flags, &[]).await.unwrap();
        assert_eq!(volume.volume_id, format!("{prefix}nas:/srv#v"), "{flags:?}");
    }
}

#[tokio::test]
async fn a_class_cannot_lead_a_named_export_to_another_port() {
    let driver = Driver::start_with(fast(&["nas"])).await;
    let status = volume(&driver, &[], &["port=20490"], &[]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(
        status.message().contains("export `fast`") && status.message().contains("port=20490"),
        "{status}"
    );
    let volume = volume(&driver, &[], &["nfsvers=4.1", "port=2049"], &[]).await.unwrap();
    assert_eq!(volume.volume_id, "fast#v", "a named export keeps its short handles");
}
