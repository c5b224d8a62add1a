//! Ephemeral volumes of nodes that are cut off from the server, or gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto::Volume;

use super::members::{Member, on_server};
use super::network::SERVER;
use crate::fixture::{Place, mounts, server, until};
use crate::support;

/// A configuration with ephemeral volumes.
fn configuration(place: &Place) -> String {
    let path = place.dir.join("nodes.yaml");
    let text = format!(
        "exports: [{{name: shared, server: {SERVER}, share: /share, mountOptions: [nfsvers=4.1, timeo=77]}}]\n\
         defaultExport: shared\nephemeralVolumes: true\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn own(id: &str) -> Volume {
    Volume {
        volume_id: id.to_owned(),
        volume_context: support::map(&[("csi.storage.k8s.io/ephemeral", "true")]),
        ..Default::default()
    }
}

/// The directory of an ephemeral volume on the server.
fn directory(id: &str) -> Option<PathBuf> {
    let nodes = on_server(".nfs-subdir-csi/nodes").read_dir().into_iter().flatten().flatten();
    nodes.map(|node| node.path().join(id)).find(|path| path.exists())
}

async fn publish(node: &Member, id: &str, target: &Path) {
    node.publish(&own(id), target).await.unwrap();
    fs::write(target.join("file"), id).unwrap();
}

#[tokio::test]
async fn an_unpublish_does_not_need_the_server_and_the_next_process_removes_the_volume() {
    let place = Place::take(&[]).await;
    let configuration = configuration(&place);
    let mut node = Member::node(&place, 1, &["--config", &configuration, "--abandoned-after", "2"]).await;
    let target = place.target("pod");
    publish(&node, "csi-1", &target).await;

    node.network.lose_replies(true);
    let begun = Instant::now();
    let mut client = node.client().node;
    client.node_unpublish_volume(support::unpublish(&own("csi-1"), &target)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "NodeUnpublishVolume took {:?}", begun.elapsed());
    assert!(mounts::at(&target).is_empty() && !target.exists());
    node.restart().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(directory("csi-1").is_some(), "the server cannot be reached");
    node.network.lose_replies(false);
    until("the directory is removed", || directory("csi-1").is_none()).await;
    let mounts = mounts::nfs(node.service.pid());
    assert!(!mounts.is_empty(), "the export is mounted to remove the volume");
    for mount in mounts {
        assert_eq!((mount.option("vers"), mount.option("timeo")), (Some("4.1"), Some("77")), "{mount:?}");
    }
}

/// While this value exists, the clock of the guest, and so of the server, is ahead.
struct ClockAhead;

impl ClockAhead {
    const SECONDS: i64 = 25 * 60 * 60;

    fn jump() -> Self {
        Self::turn(Self::SECONDS);
        Self
    }

    fn turn(seconds: i64) {
        let now = server::run(Command::new("date").arg("+%s")).trim().parse::<i64>().unwrap();
        server::run(Command::new("date").arg("-s").arg(format!("@{}", now + seconds)));
    }
}

impl Drop for ClockAhead {
    fn drop(&mut self) {
        Self::turn(-Self::SECONDS);
    }
}

#[tokio::test]
async fn the_volumes_of_a_node_that_is_silent_for_a_day_are_removed_and_those_in_use_are_not() {
    let place = Place::take(&[]).await;
    let configuration = configuration(&place);
    let args = ["--config", configuration.as_str(), "--abandoned-after", "1"];
    let mut nodes = Vec::new();
    for (number, id) in [(2, "csi-gone"), (3, "csi-writes"), (4, "csi-alive")] {
        let node = Member::node(&place, number, &args).await;
        publish(&node, id, &place.target(id)).await;
        nodes.push(node);
    }
    // Two node services end. The pod of one of them goes on.
    nodes[0].service.kill();
    nodes[1].service.kill();
    let mut controller = Member::controller(&place, 1, &args).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    for id in ["csi-gone", "csi-writes", "csi-alive"] {
        assert!(directory(id).is_some(), "{id}: removed after seconds");
    }

    let _clock = ClockAhead::jump();
    fs::write(place.target("csi-writes").join("later"), "").unwrap();
    controller.restart().await;
    until("what the silent node has left is removed", || directory("csi-gone").is_none()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for id in ["csi-writes", "csi-alive"] {
        let own = directory(id).unwrap_or_else(|| panic!("{id} is gone"));
        assert_eq!(fs::read_to_string(own.join("file")).unwrap(), id);
    }
    // The node service comes back, and takes over what it had.
    nodes[1].restart().await;
    nodes[1].unpublish(&own("csi-writes"), &place.target("csi-writes")).await.unwrap();
    until("the volume of the pod that ended is removed", || directory("csi-writes").is_none()).await;
    assert!(directory("csi-alive").is_some());
}
