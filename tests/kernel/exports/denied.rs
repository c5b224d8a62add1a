//! An export that lets root do nothing for a while.

use nfs_subdir_csi::csi::proto::{CreateVolumeRequest, volume_capability::AccessType};
use tonic::Code;

use crate::fixture::{Driver, new_volume, server};
use crate::health::Exported;
use crate::support::publish;

fn volume(name: &str, flags: &[&str]) -> CreateVolumeRequest {
    let mut request = new_volume(name, &[("subDir", &format!("parent/{name}"))]);
    let Some(AccessType::Mount(mount)) = request.volume_capabilities[0].access_type.as_mut() else {
        unreachable!()
    };
    mount.mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    request
}

/// What the kernel's client keeps of a denial must not outlive the denial: it would last until somebody restarts the driver.
#[tokio::test]
async fn after_an_export_has_squashed_root_or_was_read_only_the_next_call_succeeds() {
    for flags in [&["nfsvers=4.2"][..], &["nfsvers=3", "nolock"]] {
        for options in ["rw,root_squash", "ro,no_root_squash"] {
            let driver = Driver::start().await;
            let old = driver.try_create(volume("old", flags)).await.unwrap();
            let target = driver.publish(&old, "before", flags).await;
            // Only root may enter the directories above the volume.
            for dir in ["/share", "/share/parent"] {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
                std::fs::set_permissions(server::exported(dir), mode).unwrap();
            }
            let changed = Exported::with(options);
            for _ in 0..2 {
                let denied = [
                    driver.try_create(volume("new", flags)).await.map(drop),
                    driver.delete(&old).await,
                    driver.snapshot("s", &old.volume_id).await.map(drop),
                ];
                for answer in denied {
                    let status = answer.unwrap_err();
                    let codes = [Code::FailedPrecondition, Code::Internal];
                    assert!(codes.contains(&status.code()), "{options} {flags:?}: {status}");
                }
                // A read-only export can be published.
                let _ = driver.try_publish(publish(&old, &driver.target("meanwhile"), flags)).await;
            }
            drop(changed);
            let context = format!("{options} {flags:?}");
            driver.snapshot("s", &old.volume_id).await.expect(&context);
            let new = driver.try_create(volume("new", flags)).await.expect(&context);
            let again = driver.target("again");
            driver.try_publish(publish(&new, &again, flags)).await.expect(&context);
            driver.unpublish(&new, &again).await.unwrap();
            driver.unpublish(&old, &target).await.unwrap();
            driver.unpublish(&old, &driver.target("meanwhile")).await.unwrap();
            driver.delete(&old).await.expect(&context);
        }
    }
}
