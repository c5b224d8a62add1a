//! The NFS version: given by a mount flag, or negotiated with servers that offer all or only some versions.

use std::fs;

use tonic::Code;

use crate::fixture::{Driver, Setup, assert_refused, mounts, server};
use crate::support::publish;

/// Publishes a volume with these flags, uses it, and returns the NFS version of the export mount.
async fn version_with(driver: &Driver, flags: &[&str]) -> String {
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", flags).await;
    fs::write(target.join("file"), flags.concat()).unwrap();
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), flags.concat());
    assert_eq!(fs::read_to_string(server::directory(&volume).join("file")).unwrap(), flags.concat());
    let export_mounts = driver.export_mounts();
    assert_eq!(export_mounts.len(), 1);
    assert_eq!(mounts::at(&target)[0].option("vers"), export_mounts[0].option("vers"));
    driver.unpublish(&volume, &target).await.unwrap();
    export_mounts[0].option("vers").unwrap().to_owned()
}

#[tokio::test]
async fn each_requested_version_is_used() {
    for version in ["3", "4.0", "4.1", "4.2"] {
        let driver = Driver::start().await;
        assert_eq!(version_with(&driver, &[&format!("nfsvers={version}")]).await, version);
    }
}

#[tokio::test]
async fn without_a_version_the_newest_is_used() {
    let driver = Driver::start().await;
    assert_eq!(version_with(&driver, &[]).await, "4.2");
}

#[tokio::test]
async fn with_version_4_the_newest_minor_version_is_used() {
    let driver = Driver::start_with(Setup { versions: &["3", "4.0", "4.1"], ..Setup::default() }).await;
    assert_eq!(version_with(&driver, &["vers=4"]).await, "4.1");
}

#[tokio::test]
async fn a_server_that_has_only_version_3_is_used_with_it() {
    let driver = Driver::start_with(Setup { versions: &["3"], ..Setup::default() }).await;
    assert_eq!(version_with(&driver, &[]).await, "3");
}

#[tokio::test]
async fn a_server_that_has_only_version_4_1_is_used_with_it() {
    let driver = Driver::start_with(Setup { versions: &["4.1"], ..Setup::default() }).await;
    assert_eq!(version_with(&driver, &[]).await, "4.1");
}

#[tokio::test]
async fn a_server_that_has_only_version_4_0_is_used_with_it() {
    let driver = Driver::start_with(Setup { versions: &["4.0"], ..Setup::default() }).await;
    assert_eq!(version_with(&driver, &[]).await, "4.0");
}

#[tokio::test]
async fn a_version_that_the_server_lacks_is_refused_and_no_other_is_used() {
    let driver = Driver::start_with(Setup { versions: &["4.1"], ..Setup::default() }).await;
    let volume = driver.create("v", &[]).await;
    let target = driver.target("a");
    for (flag, words) in [("nfsvers=3", "offers NFS 4 to 4"), ("nfsvers=4.2", "does not offer this version")]
    {
        let answer = driver.try_publish(publish(&volume, &target, &[flag])).await;
        assert_refused(answer, Code::Internal, words);
    }
    assert!(driver.export_mounts().is_empty() && !target.exists());
}
