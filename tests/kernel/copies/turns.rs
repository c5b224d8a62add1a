//! Copies that wait for their turn, hang or take too long, and what they must not stop.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto;
use tonic::{Code, Request, Status};

use crate::configuration::edits::{WITH_CONFIG, configure};
use crate::fixture::{Driver, Place, assert_refused, new_volume, server, until};
use crate::overlap::members::{Member, new_volume as of_members, on_server};
use crate::overlap::network::HEALTHY;
use crate::support::Client;

/// How many copies on one export run at the same time by default.
const AT_ONCE: usize = 4;

/// Asks for a snapshot with a deadline of twenty seconds.
async fn snapshot(mut client: Client, name: &str, source: &str) -> Result<(), Status> {
    let request = proto::CreateSnapshotRequest {
        name: name.to_owned(),
        source_volume_id: source.to_owned(),
        ..Default::default()
    };
    let mut request = Request::new(request);
    request.set_timeout(Duration::from_secs(20));
    client.controller.create_snapshot(request).await.map(drop)
}

/// How many snapshots `s-…` have an unfinished tree on the server.
fn begun_copies() -> usize {
    let is_tree = |draft: &PathBuf| {
        let name = draft.file_name().unwrap().to_string_lossy();
        name.starts_with("s-") && draft.join("0").exists()
    };
    server::unfinished("/share").into_iter().filter(is_tree).count()
}

/// Whether the controller has a thread of a copy.
fn copying(controller: &Member) -> bool {
    let tasks = format!("/proc/{}/task", controller.service.pid());
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    fs::read_dir(tasks).unwrap().any(|task| task.is_ok_and(|task| name(task).trim() == "copy"))
}

#[tokio::test]
async fn copies_that_hang_at_a_dead_export_stop_no_copy_and_no_deletion_on_another_one() {
    let place = Place::take(&[]).await;
    let controller = Member::controller(&place, 1, &[]).await;
    let mut volumes = Vec::new();
    for number in 0..AT_ONCE + 2 {
        let volume = controller.create(of_members(&format!("dead-{number}"), &[])).await.unwrap();
        for file in 0..300 {
            fs::write(on_server(&format!("dead-{number}")).join(file.to_string()), "x").unwrap();
        }
        volumes.push(volume);
    }
    let healthy = of_members("healthy", &[("server", HEALTHY)]);
    let mut healthy = proto::CreateVolumeRequest { capacity_range: None, ..healthy };
    let mount = healthy.volume_capabilities[0].access_type.as_mut().unwrap();
    let proto::volume_capability::AccessType::Mount(mount) = mount else { unreachable!() };
    // The two names lead to one server. A client of NFS 4 notices this (see `dead_server`).
    mount.mount_flags = vec!["nfsvers=3".to_owned(), "nolock".to_owned()];
    let healthy = controller.create(healthy).await.unwrap();
    fs::write(on_server("healthy/file"), "x").unwrap();

    // On a slow link a copy takes long enough to be caught by the fault.
    controller.network.slow_down(50);
    let mut calls = tokio::task::JoinSet::new();
    for (number, volume) in volumes.iter().enumerate() {
        let (client, source) = (controller.client(), volume.volume_id.clone());
        calls.spawn(async move { snapshot(client, &format!("s-{number}"), &source).await });
    }
    until("four copies run", || begun_copies() >= AT_ONCE).await;
    controller.network.lose_replies(true);

    let begun = Instant::now();
    snapshot(controller.client(), "of-healthy", &healthy.volume_id).await.unwrap();
    controller.delete(&healthy.volume_id).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(copying(&controller), "the copies at the dead export hang");
    assert_eq!(begun_copies(), AT_ONCE, "the others wait");
    while let Some(answer) = calls.join_next().await {
        let status = answer.unwrap().unwrap_err();
        assert!([Code::Aborted, Code::DeadlineExceeded].contains(&status.code()), "{status}");
    }
    controller.network.lose_replies(false);

    // Nothing has to be restarted: what waited has its turn.
    for (number, volume) in volumes.iter().enumerate() {
        let name = format!("s-{number}");
        let deadline = Instant::now() + Duration::from_mins(1);
        while let Err(status) = snapshot(controller.client(), &name, &volume.volume_id).await {
            assert!(Instant::now() < deadline, "{status}");
        }
    }
    until("no copy has a thread any more", || !copying(&controller)).await;
}

#[tokio::test]
async fn a_file_that_would_take_years_to_copy_is_given_up_after_the_configured_time() {
    configure("limits: {copyTime: 1s}\n");
    let driver = Driver::start_with(WITH_CONFIG).await;
    let mut request = new_volume("v", &[]);
    let mount = request.volume_capabilities[0].access_type.as_mut().unwrap();
    let proto::volume_capability::AccessType::Mount(mount) = mount else { unreachable!() };
    // NFS 3 has no request for the holes of a file, so that all of them are read.
    mount.mount_flags = vec!["nfsvers=3".to_owned(), "nolock".to_owned()];
    let volume = driver.try_create(request).await.unwrap();
    let file = File::create(server::directory(&volume).join("endless")).unwrap();
    file.set_len(1 << 62).unwrap();
    assert_refused(
        driver.snapshot("s", &volume.volume_id).await,
        Code::FailedPrecondition,
        "`limits.copyTime`",
    );
    assert_eq!(driver.snapshots().await, []);
    until("nothing of the copy is left", || server::unfinished("/share").is_empty()).await;
}
