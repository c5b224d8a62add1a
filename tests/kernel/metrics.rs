//! Metrics that need a real NFS client: what the kernel counts, and what is said of a server that is silent.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tonic::Code;

use crate::configuration::edits::{WITH_CONFIG, configure};
use crate::fixture::{Driver, assert_refused, binary, log_level, new_volume, server, text, until};
use crate::quota::server::{Agent, MIB, write_in_pod};
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

/// What a controller tells that starts now: it makes its first survey at once. It takes the place of the one before.
async fn surveyed(driver: &mut Driver) -> Metrics {
    let place = free_port();
    driver.controller.kill();
    let (dir, port) = (driver.dir().to_owned(), place.to_string());
    let state = dir.join("controller");
    let args = ["--log-level", log_level(), "--state-dir", text(&state), "--metrics-address", &port];
    driver.controller =
        Service::start(Path::new(binary()), "controller", &dir, &[WITH_CONFIG.args, &args].concat());
    let has_one =
        || scrape(place).is_some_and(|metrics| metrics.0.contains("nfs_subdir_csi_export_volumes{"));
    until("a survey", has_one).await;
    scrape(place).unwrap()
}

#[tokio::test]
async fn what_the_quota_agent_counts_is_told_for_exports_and_volumes() {
    let export = "{name: x, server: 127.0.0.1, share: /share, trashRetention: 1h}";
    configure(&format!("exports: [{export}]\ndefaultExport: x\nmetrics: {{volumesPerExport: 2}}\n"));
    let mut driver = Driver::start_with(WITH_CONFIG).await;
    let claim = [("csi.storage.k8s.io/pvc/name", "data"), ("csi.storage.k8s.io/pvc/namespace", "shop")];
    let mut volumes = Vec::new();
    for (name, mebibytes, more) in [("a", 32, &claim[..]), ("b", 16, &[]), ("c", 4, &[])] {
        let parameters = [&[("mountPermissions", "0777"), ("inodes", "100")], more].concat();
        let mut request = support::create(name, &parameters);
        request.capacity_range.as_mut().unwrap().required_bytes = i64::try_from(mebibytes * MIB).unwrap();
        volumes.push(driver.try_create(request).await.unwrap());
    }
    let exported = server::exported("/share");
    write_in_pod(&exported.join("a/file"), 5).unwrap();
    fs::write(exported.join("c/file"), vec![1; 8 << 20]).unwrap();
    let of_export = |metrics: &Metrics, name: &str| {
        metrics.value(&format!(r#"nfs_subdir_csi_export_{name}{{export="x"}}"#))
    };
    let in_state = |metrics: &Metrics, state: &str| {
        metrics.value(&format!(r#"nfs_subdir_csi_export_quota_volumes{{export="x",state="{state}"}}"#))
    };
    let of_a = |metrics: &Metrics, name: &str| {
        let labels = r#"{export="x",namespace="shop",claim="data",volume="a"}"#;
        metrics.value(&format!("nfs_subdir_csi_volume_{name}{labels}"))
    };
    let mebibytes = |number: u32| f64::from(number << 20);

    // Nobody has counted anything.
    let before = surveyed(&mut driver).await;
    assert_eq!(of_a(&before, "promised_bytes"), Some(mebibytes(32)));
    assert_eq!(
        (of_a(&before, "used_bytes"), of_export(&before, "quota_agent_timestamp_seconds")),
        (None, None)
    );
    assert_eq!((in_state(&before, "enforced"), of_export(&before, "trash_bytes")), (None, None));

    let mut agent = Agent::start("/share", &["--interval", "1"]);
    let told = exported.join(".nfs-subdir-csi/quota/agent.json");
    let counts = |counts: &str| {
        let text = fs::read_to_string(&told).unwrap_or_default();
        text.split_whitespace().collect::<String>().contains(counts)
    };
    until("the agent has counted", || counts(r#""enforced":2,"counted":0,"over":1"#)).await;
    let metrics = surveyed(&mut driver).await;
    let states = ["enforced", "counted", "over", "tagging", "waiting", "refused"];
    let found = states.map(|state| in_state(&metrics, state));
    assert_eq!(found, [2.0, 0.0, 1.0, 0.0, 0.0, 0.0].map(Some));
    assert_eq!(of_a(&metrics, "limit_bytes"), Some(mebibytes(32)));
    let used = of_a(&metrics, "used_bytes").unwrap();
    assert!((mebibytes(5)..mebibytes(10)).contains(&used), "{used}");
    assert_eq!((of_a(&metrics, "limit_inodes"), of_a(&metrics, "used_inodes")), (Some(100.0), Some(2.0)));
    assert_eq!(of_export(&metrics, "volumes_left_out"), Some(1.0));
    assert_eq!(of_export(&metrics, "trash_bytes"), Some(0.0));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let sign = of_export(&metrics, "quota_agent_timestamp_seconds").unwrap();
    assert!((now - 30.0..=now + 1.0).contains(&sign), "{sign} {now}");

    // A deleted volume counts as trash until it is removed.
    driver.controller.kill();
    driver.start_controller_again().await;
    driver.delete(&volumes[0]).await.unwrap();
    until("the agent has counted again", || counts(r#""enforced":1,"counted":0,"over":1"#)).await;
    let metrics = surveyed(&mut driver).await;
    let trash = of_export(&metrics, "trash_bytes").unwrap();
    assert!((mebibytes(5)..mebibytes(10)).contains(&trash), "{trash}");
    assert_eq!((of_a(&metrics, "used_bytes"), of_export(&metrics, "volumes_left_out")), (None, Some(0.0)));
    let own = ["trash", "empty", "--yes", "--state-dir", "/run/trash"];
    server::run(Command::new(binary()).args(own).args(WITH_CONFIG.args));
    until("the trash is empty for the agent", || counts(r#""trash_bytes":0"#)).await;

    agent.kill();
    let hour_ago = SystemTime::now() - Duration::from_hours(1);
    fs::File::options().append(true).open(&told).unwrap().set_modified(hour_ago).unwrap();
    let metrics = surveyed(&mut driver).await;
    let sign = of_export(&metrics, "quota_agent_timestamp_seconds").unwrap();
    assert!((now - 3700.0..now - 3500.0).contains(&sign), "{sign} {now}");
    assert_eq!((in_state(&metrics, "enforced"), of_export(&metrics, "trash_bytes")), (None, None));
}
