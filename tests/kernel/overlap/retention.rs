//! Deleted volumes stay in the trash for as long as their own export says, whoever else removes something on the share.

use std::fs;
use std::time::Duration;

use super::members::{Member, handle, in_state_dir, new_volume, on_server};
use super::network::SERVER;
use crate::fixture::Place;
use crate::support;
use nfs_subdir_csi::csi::proto::Volume;

#[tokio::test]
async fn the_trash_is_not_emptied_by_the_deletions_of_others() {
    let place = Place::take(&[]).await;
    let kept = place.dir.join("kept.yaml");
    let text = format!(
        "exports: [{{name: kept, server: {SERVER}, share: /share, trashRetention: 24h}}]\n\
         defaultExport: kept\nephemeralVolumes: true\n"
    );
    fs::write(&kept, text).unwrap();
    let args = ["--config", kept.to_str().unwrap()];
    let controller = Member::controller(&place, 1, &args).await;
    let node = Member::node(&place, 2, &args).await;
    // It has no configuration: it knows the share only from the StorageClass, and keeps nothing.
    let stranger = Member::controller(&place, 3, &[]).await;

    let volume = controller.create(support::create("kept", &[])).await.unwrap();
    fs::write(on_server("kept/precious"), "data").unwrap();
    controller.delete(&volume.volume_id).await.unwrap();
    assert_eq!(in_state_dir("precious"), 1, "the volume lies in the trash");

    // An ephemeral volume of a pod.
    let own = Volume {
        volume_id: "csi-1".to_owned(),
        volume_context: support::map(&[("csi.storage.k8s.io/ephemeral", "true")]),
        ..Default::default()
    };
    let target = place.target("pod");
    node.publish(&own, &target).await.unwrap();
    fs::write(target.join("fleeting"), "data").unwrap();
    node.unpublish(&own, &target).await.unwrap();
    // A volume of a StorageClass that names the same share inline, at two controllers.
    for (controller, name) in [(&controller, "inline"), (&stranger, "strange")] {
        controller.create(new_volume(name, &[])).await.unwrap();
        fs::write(on_server(name).join("fleeting"), "data").unwrap();
        controller.delete(&handle(name)).await.unwrap();
    }
    // What is not kept is removed soon. By then everything that could have removed the other has run.
    crate::fixture::until("what is not kept is removed", || in_state_dir("fleeting") == 0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(in_state_dir("precious"), 1, "the volume is kept for 24 hours");
}
