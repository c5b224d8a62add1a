//! A server that does not answer any more, while another one does.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto;
use tonic::Code;

use crate::fixture::{Place, by_hand, mounts};
use crate::overlap::members::{Member, on_server};
use crate::overlap::network::{HEALTHY, SERVER};
use crate::support;

/// The longest time that a call may take which needs no server, or only one that answers.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A node service that answers every call within ten seconds.
async fn node(place: &Place) -> Member {
    Member::node(place, 1, &["--call-timeout", "10"]).await
}

fn volume(server: &str, name: &str) -> proto::Volume {
    fs::create_dir_all(on_server(name)).unwrap();
    by_hand(server, "/share", name)
}

async fn publish(node: &Member, volume: &proto::Volume, target: &Path) -> Result<(), tonic::Status> {
    // The two names lead to one server. A client of NFS 4 notices this, and asks the silent connection (RFC 8881 section 2.10.5).
    let flags: &[&str] =
        if volume.volume_context["server"] == HEALTHY { &["nfsvers=3", "nolock"] } else { &[] };
    let mut client = node.client().node;
    client.node_publish_volume(support::publish(volume, target, flags)).await.map(drop)
}

async fn unpublish_at_once(node: &Member, volume: &proto::Volume, target: &Path) {
    let mut client = node.client().node;
    let begun = Instant::now();
    client.node_unpublish_volume(support::unpublish(volume, target)).await.unwrap();
    assert!(begun.elapsed() < AT_ONCE, "NodeUnpublishVolume took {:?}", begun.elapsed());
    assert!(mounts::at(target).is_empty() && !target.exists());
}

#[tokio::test]
async fn an_unpublish_does_not_wait_for_a_publish_that_hangs_and_revokes_it() {
    let place = Place::take(&[]).await;
    let node = node(&place).await;
    let (before, hanging) = (volume(SERVER, "before"), volume(SERVER, "hanging"));
    let targets = [place.target("before"), place.target("hanging")];
    publish(&node, &before, &targets[0]).await.unwrap();

    node.network.lose_replies(true);
    let mut client = node.client().node;
    let request = support::publish(&hanging, &targets[1], &[]);
    let hangs = tokio::spawn(async move { client.node_publish_volume(request).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!hangs.is_finished());
    unpublish_at_once(&node, &hanging, &targets[1]).await;
    unpublish_at_once(&node, &before, &targets[0]).await;
    node.network.lose_replies(false);

    let late = hangs.await.unwrap();
    assert_eq!(late.unwrap_err().code(), Code::Aborted, "the publish was revoked");
    assert!(mounts::at(&targets[1]).is_empty() && !targets[1].exists(), "a late publish leaves nothing");
    // The pod comes back.
    publish(&node, &hanging, &targets[1]).await.unwrap();
    unpublish_at_once(&node, &hanging, &targets[1]).await;
}

#[tokio::test]
async fn a_silent_export_is_named_and_delays_no_other_export() {
    const CALLS: usize = 40;
    let place = Place::take(&[]).await;
    let node = node(&place).await;
    let silent = volume(SERVER, "silent");
    let target = place.target("silent");
    publish(&node, &silent, &target).await.unwrap();

    node.network.lose_replies(true);
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        let volume = volume(SERVER, &format!("silent-{number}"));
        let request = support::publish(&volume, &place.target(&format!("silent-{number}")), &[]);
        let mut client = node.client().node;
        waiting.spawn(async move {
            let begun = Instant::now();
            (client.node_publish_volume(request).await, begun.elapsed())
        });
    }
    let mut client = node.client().node;
    let stats = proto::NodeGetVolumeStatsRequest {
        volume_id: silent.volume_id.clone(),
        volume_path: target.to_str().unwrap().to_owned(),
        ..Default::default()
    };
    waiting.spawn(async move {
        let begun = Instant::now();
        let answer = client.node_get_volume_stats(stats).await;
        (answer.map(|_| tonic::Response::new(proto::NodePublishVolumeResponse {})), begun.elapsed())
    });
    tokio::time::sleep(Duration::from_millis(300)).await;

    for round in 0..5 {
        let begun = Instant::now();
        let healthy = volume(HEALTHY, &format!("healthy-{round}"));
        let target = place.target(&format!("healthy-{round}"));
        publish(&node, &healthy, &target).await.unwrap();
        // The first publish mounts the export.
        assert!(round == 0 || begun.elapsed() < AT_ONCE, "a healthy publish took {:?}", begun.elapsed());
        unpublish_at_once(&node, &healthy, &target).await;
        let begun = Instant::now();
        let probe = node.client().identity.probe(proto::ProbeRequest {}).await.unwrap().into_inner();
        assert_eq!(probe.ready, Some(true), "a silent export does not make the service unhealthy");
        assert!(begun.elapsed() < AT_ONCE, "Probe took {:?}", begun.elapsed());
    }

    while let Some(answer) = waiting.join_next().await {
        let (answer, took) = answer.unwrap();
        let refusal = answer.unwrap_err();
        assert!([Code::DeadlineExceeded, Code::Aborted].contains(&refusal.code()), "{refusal}");
        assert!(refusal.message().contains("nfs-shared:/"), "{refusal}");
        assert!(took < Duration::from_secs(11), "{took:?}: {refusal}");
    }
    unpublish_at_once(&node, &silent, &target).await;
    node.network.lose_replies(false);
    // The publishes went on when the server answered again, or do so now. Kubelet unpublishes what it does not need.
    for number in 0..CALLS {
        let name = format!("silent-{number}");
        unpublish_at_once(&node, &volume(SERVER, &name), &place.target(&name)).await;
    }
    // Nothing has to be restarted.
    node.publish(&silent, &target).await.unwrap();
    unpublish_at_once(&node, &silent, &target).await;
}

#[tokio::test]
async fn a_repeated_publish_does_not_depend_on_the_server() {
    let place = Place::take(&[]).await;
    let node = node(&place).await;
    let volume = volume(SERVER, "published");
    let target = place.target("published");
    publish(&node, &volume, &target).await.unwrap();
    let before = mounts::at(&target);
    node.network.lose_replies(true);
    for _ in 0..2 {
        let begun = Instant::now();
        publish(&node, &volume, &target).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
    assert_eq!(mounts::at(&target), before);
    unpublish_at_once(&node, &volume, &target).await;
    node.network.lose_replies(false);
}
