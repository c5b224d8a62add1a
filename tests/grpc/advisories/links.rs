//! A symbolic link where the directory of a volume was.

use std::os::unix::fs::symlink;
use std::path::Path;

use nfs_subdir_csi::csi::proto;
use tonic::Code;

use super::{Answers, ask_all};
use crate::support::create;
use crate::{Driver, PARAMETERS};

/// kubelet CVE-2017-1002101 and CVE-2021-25741: a tenant replaces the directory of a volume, or one above it, by a link.
/// `tests/kernel/hostile` does the same on the kernel's NFS client, while the driver works.
#[tokio::test]
async fn cve_2017_1002101_a_link_that_a_tenant_has_put_there() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let absolute = driver.share().with_file_name("canary");
    for (policy, swapped) in [("delete", "ns/v"), ("archive", "ns/v"), ("delete", "ns"), ("archive", "ns")] {
        for to in
            [Path::new("../canary"), Path::new("canary"), &absolute, Path::new("."), Path::new("dangling")]
        {
            let what = format!("{policy}, {swapped} -> {}", to.display());
            let parameters = [&PARAMETERS[..], &[("subDir", "ns/v"), ("onDelete", policy)]].concat();
            let request = create("v", &parameters);
            let volume = controller.create_volume(request).await.unwrap().into_inner().volume.unwrap();
            let (place, aside) = (driver.share().join(swapped), driver.share().join("aside"));
            std::fs::rename(&place, &aside).unwrap();
            symlink(to, &place).unwrap();

            let Answers { delete, others } = ask_all(&driver, &volume.volume_id).await;
            for (call, answer) in [("delete", &delete), ("modify", &others[2]), ("publish", &others[4])] {
                let code = answer.as_ref().unwrap_err().code();
                assert_eq!(code, Code::FailedPrecondition, "{call}: {what}");
            }
            assert!(driver.published().is_empty() && place.is_symlink(), "{what}");
            // No new volume is created below a link either.
            let below = [&PARAMETERS[..], &[("subDir", "ns/v/new")]].concat();
            let status = controller.create_volume(create("new", &below)).await.unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition, "create: {what}");

            std::fs::remove_file(&place).unwrap();
            std::fs::rename(&aside, &place).unwrap();
            for id in [&volume.volume_id, "nas:/srv#new"] {
                let request = proto::DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() };
                controller.delete_volume(request).await.unwrap();
            }
            assert!(!driver.share().join("ns").exists(), "{what}");
        }
    }
}
