//! The reported usage of a volume.

use std::fs;
use std::process::Command;

use nfs_subdir_csi::csi::proto::NodeGetVolumeStatsRequest;

use crate::fixture::{Driver, answer, server};

/// Total, used and available bytes, then the same for inodes.
pub(crate) async fn usage(driver: &Driver, volume_id: &str, path: &str) -> Vec<(i64, i64, i64)> {
    let request = NodeGetVolumeStatsRequest {
        volume_id: volume_id.to_owned(),
        volume_path: path.to_owned(),
        ..Default::default()
    };
    let mut node = driver.node.client().await.node;
    let usage = answer(node.node_get_volume_stats(request)).await.unwrap().usage;
    usage.iter().map(|one| (one.total, one.used, one.available)).collect()
}

#[tokio::test]
async fn a_volume_with_a_quota_on_the_server_has_the_size_of_its_quota() {
    let driver = Driver::start().await;
    let (bounded, free) = (driver.create("bounded", &[]).await, driver.create("free", &[]).await);
    for command in ["project -s -p /export/share/bounded 42", "limit -p bhard=100m ihard=50 42"] {
        server::run(Command::new("xfs_quota").args(["-x", "-c", command, "/export"]));
    }
    let target = driver.publish(&bounded, "a", &[]).await;
    fs::write(target.join("file"), vec![1; 10 << 20]).unwrap();
    fs::File::open(target.join("file")).unwrap().sync_all().unwrap();
    let of_bounded = usage(&driver, &bounded.volume_id, target.to_str().unwrap()).await;
    let (total, used, available) = of_bounded[0];
    assert_eq!((total, used + available), (100 << 20, 100 << 20));
    // The file system may allocate more than the file has.
    assert!((10 << 20..=20 << 20).contains(&used), "{of_bounded:?}");
    assert_eq!(of_bounded[1], (50, 2, 48));

    let target = driver.publish(&free, "b", &[]).await;
    let of_free = usage(&driver, &free.volume_id, target.to_str().unwrap()).await;
    assert!(of_free[0].0 > 60 << 30, "without a quota the size is that of the export: {of_free:?}");
    server::run(Command::new("xfs_quota").args(["-x", "-c", "limit -p bhard=0 ihard=0 42", "/export"]));
}
