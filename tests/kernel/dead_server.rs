//! A server that is down for a while. NFS 3 is used, because a server of NFS 4 that comes back would first have its
//! clients reclaim what they had open.

use std::fs;

use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::Code;

use super::fixture::{Driver, Setup, assert_refused, new_volume};
use super::server::Stopped;
use super::support::capability;
use super::{mounts, server};

const FLAGS: [&str; 1] = ["nfsvers=3"];

#[tokio::test]
async fn a_volume_is_unpublished_while_its_server_is_dead_and_writes_of_other_pods_are_not_lost() {
    let mut driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let stays = driver.publish(&volume, "stays", &FLAGS).await;
    let goes = driver.publish(&volume, "goes", &FLAGS).await;
    let goes_later = driver.publish(&volume, "goes-later", &FLAGS).await;
    fs::write(goes.join("file"), "x").unwrap();
    let mut file = fs::File::create(stays.join("late")).unwrap();

    let stopped = Stopped::now();
    let writer = std::thread::spawn(move || {
        std::io::Write::write_all(&mut file, b"written while the server was dead").and_then(|()| file.sync_all())
    });
    driver.unpublish(&volume, &goes).await.unwrap();
    assert!(mounts::at(&goes).is_empty() && !goes.exists());
    driver.node.kill();
    driver.start_node_again().await;
    driver.unpublish(&volume, &goes_later).await.unwrap();
    assert!(mounts::at(&goes_later).is_empty() && !goes_later.exists());
    assert!(!writer.is_finished(), "the pod's write does not wait for the server");

    drop(stopped);
    writer.join().unwrap().unwrap();
    let written = fs::read_to_string(server::directory(&volume).join("late")).unwrap();
    assert_eq!(written, "written while the server was dead");
}

#[tokio::test]
async fn a_call_that_waits_for_a_dead_server_is_answered_and_succeeds_once_it_is_back() {
    let driver = Driver::start_with(Setup { args: &["--call-timeout", "2"], ..Setup::default() }).await;
    let request = |name| {
        let mut request = new_volume(name, &[]);
        request.volume_capabilities = vec![capability(Mode::MultiNodeMultiWriter, &FLAGS)];
        request
    };
    let before = driver.try_create(request("before")).await.unwrap();

    let stopped = Stopped::now();
    assert_refused(driver.try_create(request("v")).await, Code::DeadlineExceeded, "still working after 2 s");
    assert_refused(driver.try_create(request("v")).await, Code::Aborted, "has been running for");
    assert_refused(driver.delete(&before).await, Code::DeadlineExceeded, "still working after 2 s");
    drop(stopped);

    let mut answer = driver.try_create(request("v")).await;
    for _ in 0..20 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        answer = driver.try_create(request("v")).await;
    }
    assert!(server::directory(&answer.unwrap()).is_dir());
    while driver.delete(&before).await.is_err_and(|status| status.code() == Code::Aborted) {}
    assert!(!server::directory(&before).exists());
}
