//! A limit of files: the parameter `inodes`.

use std::path::Path;
use std::process::Command;

use nfs_subdir_csi::csi::proto::CreateVolumeRequest;
use nix::sys::statvfs::statvfs;
use tonic::Code;

use super::agent::expand;
use super::driver::{create, expecting, sized};
use super::server::{Agent, MIB, message_of_limit, report, size_in_pod, write_in_pod};
use crate::fixture::{assert_refused, until};
use crate::support;

/// A request for a volume that may have so many files and directories.
fn with_inodes(name: &str, inodes: &str) -> CreateVolumeRequest {
    let parameters = support::create(name, &[("mountPermissions", "0777"), ("inodes", inodes)]).parameters;
    CreateVolumeRequest { parameters, ..sized(name, 32) }
}

/// Makes an empty file as a pod that does not run as root. Returns what touch says.
fn make(file: &Path) -> Result<(), String> {
    let own = ["--reuid=1000", "--regid=1000", "--clear-groups", "touch"];
    let output = Command::new("setpriv").args(own).arg(file).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

#[tokio::test]
async fn a_volume_has_no_more_files_than_its_class_says_and_the_directory_itself_counts() {
    for (share, versions) in super::agent::PLACES {
        let driver = expecting("required", share, versions).await;
        let _agent = Agent::start(share, &["--interval", "1"]);
        let volume = create(&driver, with_inodes("v", "20")).await;
        let again = driver.try_create(with_inodes("v", "30")).await;
        assert_refused(again, Code::AlreadyExists, "a limit of files of 20, not 30");
        let target = driver.publish(&volume, "a", &[]).await;
        let in_pod = || statvfs(&target).unwrap().files();
        assert_eq!((in_pod(), size_in_pod(&target)), (20, 32 * MIB), "{share} {versions:?}");
        for number in 1..20 {
            make(&target.join(format!("file-{number}"))).unwrap();
        }
        let refused = make(&target.join("file-20")).unwrap_err();
        assert!(refused.contains(message_of_limit(share)), "{share} {versions:?}: {refused}");
        // The limit of bytes is another one.
        let refused = write_in_pod(&target.join("file-1"), 40).unwrap_err();
        assert!(refused.contains(message_of_limit(share)), "{share} {versions:?}: {refused}");
        assert_eq!(expand(&driver, &volume, 64 * MIB).await.unwrap(), 64 << 20);
        assert_eq!((in_pod(), size_in_pod(&target)), (20, 64 * MIB), "{share} {versions:?}");
        write_in_pod(&target.join("file-1"), 40).unwrap();
        until("the files are reported", || report(share, "v").is_some_and(|told| told.used_inodes == 20))
            .await;
        assert_eq!(report(share, "v").unwrap().limit_inodes, 20);
        // One place is free again. XFS counts a removed file until it has freed it in the background.
        std::fs::remove_file(target.join("file-2")).unwrap();
        until("another file can be made", || make(&target.join("file-21")).is_ok()).await;
        assert!(make(&target.join("file-22")).is_err());
        driver.unpublish(&volume, &target).await.unwrap();
    }
}
