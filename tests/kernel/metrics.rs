//! Metrics that need a real NFS client: what the kernel counts, and what is said of a server that is silent.

use std::path::Path;
use std::time::{Duration, Instant};

use tonic::Code;

use crate::fixture::{Driver, assert_refused, binary, log_level, new_volume, server, text, until};
use crate::scrape::{Metrics, free_port, scrape};
use crate::support::{self, Service};

/// No scrape may take longer, whatever the NFS server does.
const AT_ONCE: Duration = Duration::from_secs(1);
const EXPORT: &str = r#"{export="nfs-server:/share"}"#;

/// A driver whose services serve metrics, and the addresses.
async fn measured() -> (Driver, [std::net::SocketAddr; 2]) {
    let mut driver = Driver::start().await;
    let places = [free_port(), free_port()];
    let ports = places.map(|place| place.to_string());
    let dir = driver.dir().to_owned();
    let (controller, node, kubelet) = (dir.join("controller"), dir.join("node"), dir.join("kubelet"));
    let common = ["--log-level", log_level(), "--call-timeout", "5"];
    driver.controller.kill();
    let args = ["--state-dir", text(&controller), "--metrics-address", &ports[0]];
    driver.controller =
        Service::start(Path::new(binary()), "controller", &dir, &[&common[..], &args].concat());
    driver.node.kill();
    let args = ["--state-dir", text(&node), "--kubelet-dir", text(&kubelet), "--node-id", "node-1"];
    let args = [&common[..], &args, &["--metrics-address", &ports[1]]].concat();
    driver.node = Service::start(Path::new(binary()), "node", &dir, &args);
    (driver, places)
}

fn scrape_at_once(place: std::net::SocketAddr) -> Metrics {
    let begun = Instant::now();
    let metrics = scrape(place).unwrap();
    assert!(begun.elapsed() < AT_ONCE, "a scrape took {:?}", begun.elapsed());
    metrics
}

fn of_export(place: std::net::SocketAddr, name: &str) -> Option<f64> {
    scrape_at_once(place).value(&format!("nfs_subdir_csi_export_{name}{EXPORT}"))
}

#[tokio::test]
async fn the_metrics_follow_the_server_and_are_told_while_it_is_silent() {
    let (driver, [controller, node]) = measured().await;
    let mut client = driver.controller.client().await.controller;
    let volume = client.create_volume(new_volume("v", &[])).await.unwrap().into_inner().volume.unwrap();
    let target = driver.target("a");
    let mut of_node = driver.node.client().await.node;
    of_node.node_publish_volume(support::publish(&volume, &target, &[])).await.unwrap();
    for place in [controller, node] {
        assert_eq!((of_export(place, "up"), of_export(place, "mounted")), (Some(1.0), Some(1.0)));
        assert_eq!(of_export(place, "nfs_retransmissions_total"), Some(0.0));
    }
    // What a pod does is counted, too.
    let before = of_export(node, "nfs_written_bytes_total").unwrap();
    let requests = of_export(node, "nfs_requests_total").unwrap();
    let file = std::fs::File::create(target.join("file")).unwrap();
    std::io::Write::write_all(&mut &file, &vec![7; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert!(of_export(node, "nfs_written_bytes_total").unwrap() - before >= f64::from(1 << 20));
    assert!(of_export(node, "nfs_requests_total").unwrap() > requests);
    assert!(of_export(node, "nfs_round_trip_seconds_total").unwrap() > 0.0);
    until("a survey", || of_export(controller, "volumes") == Some(1.0)).await;
    assert!(of_export(controller, "size_bytes").unwrap() > of_export(controller, "available_bytes").unwrap());

    let stopped = server::Stopped::stop();
    let other = client.create_volume(new_volume("w", &[])).await.map(|_| ());
    assert_refused(other, Code::DeadlineExceeded, "nfs-server:/share");
    until("the export is down", || of_export(controller, "up") == Some(0.0)).await;
    assert_eq!(of_export(controller, "calls_hung"), Some(1.0));
    let slow = r#"nfs_subdir_csi_call_duration_seconds_count{method="CreateVolume",code="DeadlineExceeded"}"#;
    assert_eq!(scrape_at_once(controller).value(slow), Some(1.0));
    drop(stopped);
    until("the export is up again", || of_export(controller, "up") == Some(1.0)).await;
    until("no call hangs", || of_export(controller, "calls_hung") == Some(0.0)).await;
    let answered = of_export(controller, "last_answer_timestamp_seconds").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.as_secs_f64() - answered < 30.0);
    of_node.node_unpublish_volume(support::unpublish(&volume, &target)).await.unwrap();
}
