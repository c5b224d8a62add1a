//! Copies under way while other processes begin, end and remove what they own.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::members::{Member, clone_of, handle, new_volume, on_server};
use super::network::SERVER;
use crate::fixture::{Place, server};
use crate::support;
use nfs_subdir_csi::csi::proto::Volume;

const FILES: usize = 3000;

/// A configuration with ephemeral volumes, as both services read it.
fn configuration(place: &Place) -> String {
    let path = place.dir.join("overlap.yaml");
    let text = format!(
        "exports: [{{name: shared, server: {SERVER}, share: /share}}]\ndefaultExport: shared\nephemeralVolumes: true\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn source(controller: &Member) -> Volume {
    let source = controller.create(new_volume("source", &[])).await.unwrap();
    // The top directory of the copy changes at the beginning only, so that its age says nothing about the copy.
    let top = on_server("source").join("sub");
    fs::create_dir(&top).unwrap();
    let files = format!("cd '{}' && seq 1 {FILES} | xargs -n 100 touch", top.display());
    server::run(Command::new("sh").args(["-c", &files]));
    source
}

/// Clones while `disturb` runs again and again, and checks that the clone is whole.
async fn clone_whole(controller: &Member, source: &Volume, round: usize, disturb: impl Future<Output = ()>) {
    let name = format!("clone-{round}");
    let (cloned, ()) = tokio::join!(controller.create(clone_of(source, &name)), disturb);
    cloned.unwrap_or_else(|status| panic!("round {round}: {status}"));
    let copied = on_server(&name).join("sub").read_dir().unwrap().count();
    assert_eq!(copied, FILES, "round {round}: CreateVolume answered OK, and the clone is not whole");
    controller.delete(&handle(&name)).await.unwrap();
}

/// Waits longer in each round, so that the disturbance meets the copy at different places.
async fn wait_into_the_copy(round: usize) {
    tokio::time::sleep(Duration::from_millis(100 + 200 * round as u64)).await;
}

#[tokio::test]
async fn a_copy_is_whole_while_a_second_controller_starts_and_works() {
    let place = Place::take(&[]).await;
    let one = Member::controller(&place, 1, &[]).await;
    let mut two = Member::controller(&place, 2, &[]).await;
    let source = source(&one).await;
    for round in 0..12 {
        let disturb = async {
            wait_into_the_copy(round).await;
            two.restart().await;
            // The first call mounts the share, and begins to remove what other processes have left.
            two.create(new_volume("other", &[])).await.unwrap();
            two.delete(&handle("other")).await.unwrap();
        };
        clone_whole(&one, &source, round, disturb).await;
    }
}

#[tokio::test]
async fn a_copy_is_whole_while_a_node_service_removes_an_ephemeral_volume() {
    let place = Place::take(&[]).await;
    let configuration = configuration(&place);
    let args = ["--config", configuration.as_str()];
    let one = Member::controller(&place, 1, &args).await;
    let mut node = Member::node(&place, 2, &args).await;
    let source = source(&one).await;
    for round in 0..12 {
        let own = Volume {
            volume_id: format!("csi-{round}"),
            volume_context: support::map(&[("csi.storage.k8s.io/ephemeral", "true")]),
            ..Default::default()
        };
        let target = place.target(&format!("pod-{round}"));
        let disturb = async {
            wait_into_the_copy(round).await;
            node.restart().await;
            node.publish(&own, &target).await.unwrap();
            node.unpublish(&own, &target).await.unwrap();
        };
        clone_whole(&one, &source, round, disturb).await;
    }
}
