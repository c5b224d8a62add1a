//! An export that lets root do nothing for a while.

use std::process::Command;

use nfs_subdir_csi::csi::proto::{self, CreateVolumeRequest, volume_capability::AccessType};
use tonic::Code;

use crate::fixture::{Driver, answer, by_hand, new_volume, server};
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

/// Some exports are not exported until this is dropped.
struct Withdrawn;

impl Withdrawn {
    fn make(arguments: &[&str]) -> Self {
        server::run(Command::new("exportfs").args(arguments));
        server::run(Command::new("exportfs").arg("-f"));
        Self
    }
}

impl Drop for Withdrawn {
    fn drop(&mut self) {
        server::run(Command::new("exportfs").arg("-ra"));
    }
}

/// A server that exports nothing to this node denies every request. One that exports other directories to it says that the handle of this one
/// is stale.
#[tokio::test]
async fn a_server_that_does_not_export_the_share_any_more_is_not_said_to_squash_root() {
    for flags in [&["nfsvers=4.2"][..], &["nfsvers=3", "nolock"]] {
        for arguments in [&["-ua"][..], &["-u", "*:/export"]] {
            let driver = Driver::start().await;
            let old = driver.try_create(volume("old", flags)).await.unwrap();
            let target = driver.publish(&old, "before", flags).await;
            let path = target.to_str().unwrap().to_owned();
            // The client has not looked this directory up, so that a publish has to ask the server.
            let unknown = by_hand(server::NAME, "/share", "unknown");
            std::fs::create_dir(server::exported("/share/unknown")).unwrap();
            let withdrawn = Withdrawn::make(arguments);
            let stats = proto::NodeGetVolumeStatsRequest {
                volume_id: old.volume_id.clone(),
                volume_path: path.clone(),
                ..Default::default()
            };
            let mut node = driver.node.client().await.node;
            let refused = [
                driver.try_create(volume("new", flags)).await.map(drop),
                driver.delete(&old).await,
                driver.snapshot("s", &old.volume_id).await.map(drop),
                driver.try_publish(publish(&unknown, &driver.target("meanwhile"), flags)).await,
                answer(node.node_get_volume_stats(stats.clone())).await.map(drop),
            ];
            for (number, answer) in refused.into_iter().enumerate() {
                let Err(refusal) = answer else { panic!("{number} {arguments:?} {flags:?}: it succeeded") };
                let context = format!("{number} {arguments:?} {flags:?}: {refusal}");
                let message = refusal.message();
                assert!([Code::FailedPrecondition, Code::Internal].contains(&refusal.code()), "{context}");
                assert!(message.contains("nfs-server:/share"), "{context}");
                let causes = [
                    "does it export this share",
                    "does it still export",
                    "has no such share",
                    "restart the pod",
                ];
                assert!(causes.iter().any(|cause| message.contains(cause)), "{context}");
                assert!(!message.contains("root_squash"), "{context}");
            }
            let health = proto::NodeGetVolumeHealthRequest {
                volume_id: old.volume_id.clone(),
                volume_publish_path: path,
                ..Default::default()
            };
            let health = answer(node.node_get_volume_health(health)).await.unwrap().volume_health.unwrap();
            let found: Vec<String> = health.health_statuses.into_iter().map(|entry| entry.message).collect();
            assert!(
                !found.is_empty() && found.iter().all(|message| !message.contains("root_squash")),
                "{found:?}"
            );
            drop(withdrawn);
            answer(node.node_get_volume_stats(stats)).await.unwrap();
            driver.unpublish(&old, &target).await.unwrap();
            driver.unpublish(&unknown, &driver.target("meanwhile")).await.unwrap();
            driver.delete(&old).await.unwrap();
        }
    }
}
