//! What the services expose for Prometheus. The client blocks while the service answers, so each test has several threads.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nfs_subdir_csi::csi::call::dispatcher::Dispatcher;
use nfs_subdir_csi::csi::controller::Controller;
use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::linux::Dir;
use nfs_subdir_csi::server::Role;
use nfs_subdir_csi::volume::name::handle::VolumeKey;
use nfs_subdir_csi::volume::policy::settings::{ExportPolicy, Settings};
use nfs_subdir_csi::volume::share::mounts::Exports;
use nfs_subdir_csi::volume::share::quota::{Agent, Counts, Mode, QuotaFolder, Report, State};
use nfs_subdir_csi::volume::volumes::Volumes;

use crate::scrape::{Metrics, free_port, request, scrape};
use crate::settings::fast;
use crate::support::{create, delete, publish};
use crate::{Driver, PARAMETERS};

/// Services with the export `fast`, and the places of their metrics.
async fn measured(settings: Settings) -> (Driver, [std::net::SocketAddr; 2]) {
    let places = [free_port(), free_port()];
    let driver = Driver::start_measured(settings, places.map(Some)).await;
    for place in places {
        crate::until("metrics are served", || scrape(place).is_some()).await;
    }
    (driver, places)
}

/// Metrics once a sample has this value.
async fn once(place: std::net::SocketAddr, sample: &str, value: f64) -> Metrics {
    let is_so = || scrape(place).and_then(|metrics| metrics.value(sample)) == Some(value);
    crate::until(&format!("{sample} is {value}"), is_so).await;
    scrape(place).unwrap()
}

fn kept(settings: Settings) -> Settings {
    let policy = ExportPolicy { trash_retention: Duration::from_hours(1), ..ExportPolicy::default() };
    let exports = settings.exports.into_iter().map(|(name, export)| {
        let export = nfs_subdir_csi::volume::policy::settings::NamedExport { policy, ..export };
        (name, export)
    });
    Settings { exports: exports.collect(), ..settings }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_metric_moves_when_its_cause_happens() {
    let (driver, [controller, node]) = measured(kept(fast(&["nas"]))).await;
    let mut client = driver.controller.controller.clone();
    let one = client.create_volume(create("one", &[])).await.unwrap().into_inner().volume.unwrap();
    std::fs::write(driver.share().join("one/file"), "twelve bytes").unwrap();
    client.create_volume(create("", &[])).await.unwrap_err();
    let mut clone = create("two", &[]);
    clone.volume_content_source = Some(proto::VolumeContentSource {
        r#type: Some(proto::volume_content_source::Type::Volume(
            proto::volume_content_source::VolumeSource { volume_id: one.volume_id.clone() },
        )),
    });
    let two = client.create_volume(clone).await.unwrap().into_inner().volume.unwrap();
    driver.node.node.clone().node_publish_volume(publish(&one, &driver.target("a"), &[])).await.unwrap();
    client.delete_volume(delete(&two)).await.unwrap();

    // The first survey may have come before the volumes, and the next one comes a minute later, so this is what surveys find.
    let metrics = scrape(controller).unwrap();
    let is = |metrics: &Metrics, sample: &str, value: f64| {
        assert_eq!(
            metrics.value(&format!("nfs_subdir_csi_{sample}")),
            Some(value),
            "{sample}\n{}",
            metrics.0
        );
    };
    is(&metrics, r#"call_duration_seconds_count{method="CreateVolume",code="OK"}"#, 2.0);
    is(&metrics, r#"call_duration_seconds_count{method="CreateVolume",code="InvalidArgument"}"#, 1.0);
    is(&metrics, r#"calls_in_flight{method="CreateVolume"}"#, 0.0);
    is(&metrics, r#"calls_waiting{kind="exports"}"#, 0.0);
    is(&metrics, r#"export_up{export="fast"}"#, 1.0);
    is(&metrics, r#"export_mounted{export="fast"}"#, 1.0);
    is(&metrics, r#"copies_total{result="completed"}"#, 1.0);
    is(&metrics, "copied_files_total", 1.0);
    is(&metrics, "copied_bytes_total", 12.0);
    is(&metrics, "copies_running", 0.0);
    is(&metrics, "config_last_reload_successful", 1.0);
    let version = env!("CARGO_PKG_VERSION");
    is(&metrics, &format!(r#"build_info{{version="{version}",service="controller"}}"#), 1.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    for sample in [
        r#"export_last_answer_timestamp_seconds{export="fast"}"#,
        "config_last_reload_success_timestamp_seconds",
    ] {
        let time = metrics.value(&format!("nfs_subdir_csi_{sample}")).unwrap();
        assert!((now - 60.0..=now + 1.0).contains(&time), "{sample}: {time}");
    }
    // Both services of the test share one dispatcher.
    is(&scrape(node).unwrap(), r#"call_duration_seconds_count{method="NodePublishVolume",code="OK"}"#, 1.0);

    driver.settings.reloads.fail(true);
    let metrics = scrape(node).unwrap();
    is(&metrics, "config_last_reload_successful", 0.0);
    is(&metrics, "config_reload_failures_total", 1.0);
}

/// What a controller tells that starts now: it makes its first survey at once, and has answered one call.
async fn surveyed(driver: &Driver, name: &str) -> Metrics {
    let place = free_port();
    let dispatcher = Dispatcher::new(Duration::from_secs(10));
    let volumes = Volumes {
        settings: Arc::clone(&driver.settings),
        exports: Arc::new(Exports::new(driver.mounter.clone(), Duration::from_mins(1))),
        copies: Arc::default(),
        claims: driver.claims.clone(),
    };
    let role = Role::Controller(Controller { dispatcher: dispatcher.clone(), volumes: Arc::new(volumes) });
    let socket = driver.temporary.path().join(format!("{name}.sock"));
    let (client, _stop) = crate::serve(&socket, role, &dispatcher, Some(place)).await;
    client.controller.clone().list_volumes(proto::ListVolumesRequest::default()).await.unwrap();
    let has_one =
        || scrape(place).is_some_and(|metrics| metrics.0.contains("\nnfs_subdir_csi_export_volumes{"));
    crate::until("a survey", has_one).await;
    scrape(place).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survey_counts_what_lies_on_an_export() {
    let earlier = Driver::start_with(kept(fast(&["nas"]))).await;
    let mut client = earlier.controller.controller.clone();
    for name in ["one", "two", "three"] {
        client.create_volume(create(name, &[])).await.unwrap();
    }
    let three = proto::Volume { volume_id: "fast#three".to_owned(), ..Default::default() };
    client.delete_volume(delete(&three)).await.unwrap();
    std::fs::write(earlier.share().join(".nfs-subdir-csi/volumes/broken.json"), "{").unwrap();

    let metrics = surveyed(&earlier, "later").await;
    assert_eq!(metrics.value(r#"nfs_subdir_csi_export_volumes{export="fast"}"#), Some(3.0));
    let is = |sample: &str, value: f64| {
        let sample = format!("nfs_subdir_csi_export_{sample}{{export=\"fast\"}}");
        assert_eq!(metrics.value(&sample), Some(value), "{sample}\n{}", metrics.0);
    };
    is("unreadable_records", 1.0);
    is("promised_bytes", 2_147_483_648.0);
    is("trash_entries", 1.0);
    is("snapshots", 0.0);
    let value =
        |name: &str| metrics.value(&format!("nfs_subdir_csi_export_{name}{{export=\"fast\"}}")).unwrap();
    assert!(value("size_bytes") >= value("available_bytes") && value("available_bytes") > 0.0);
    let times = [value("trash_oldest_timestamp_seconds"), value("survey_timestamp_seconds")];
    assert!(times[1] - times[0] < 60.0, "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_cannot_be_reached_is_down_and_every_scrape_is_answered() {
    let (driver, [controller, _]) = measured(fast(&["dead"])).await;
    let sample = r#"nfs_subdir_csi_export_up{export="fast"}"#;
    // The first survey has noticed it.
    once(controller, sample, 0.0).await;
    driver.mounter.serve("dead:/srv", &driver.share());
    // For some seconds, the driver does not ask again.
    while driver.controller.controller.clone().create_volume(create("v", &[])).await.is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    once(controller, sample, 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inline_exports_have_metrics_up_to_a_limit() {
    let (driver, [controller, _]) = measured(Settings::default()).await;
    let most = nfs_subdir_csi::metrics::MOST_INLINE;
    for number in 0..most + 3 {
        let share = format!("/srv-{number:03}");
        driver.mounter.serve(&format!("nas:{share}"), &driver.share());
        let parameters = [PARAMETERS[0], ("share", share.as_str())];
        let request = create(&format!("v-{number}"), &parameters);
        driver.controller.controller.clone().create_volume(request).await.unwrap();
    }
    let metrics = scrape(controller).unwrap();
    assert_eq!(metrics.value("nfs_subdir_csi_exports_left_out"), Some(3.0));
    let exports = metrics.0.lines().filter(|line| line.starts_with("nfs_subdir_csi_export_up{"));
    assert_eq!(exports.count(), most);
    assert_eq!(metrics.value(r#"nfs_subdir_csi_export_up{export="nas:/srv-000"}"#), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_keeps_no_call_from_its_answer_and_is_used_when_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap();
    let driver = Driver::start_measured(fast(&["nas"]), [Some(place), None]).await;
    let mut client = driver.controller.controller.clone();
    client.create_volume(create("v", &[])).await.unwrap();
    drop(taken);
    for _ in 0..100 {
        if scrape(place).is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("no metrics 20 s after the port has become free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_the_metrics_is_answered() {
    let (_driver, [controller, _]) = measured(Settings::default()).await;
    let status = |method: &str, path: &str| request(controller, method, path).unwrap().0;
    assert_eq!(status("GET", "/metrics?x=1"), "HTTP/1.1 200 OK");
    assert_eq!(status("GET", "/"), "HTTP/1.1 404 Not Found");
    assert_eq!(status("POST", "/metrics"), "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(request(controller, "HEAD", "/metrics").unwrap().1, "");
    // Clients that say nothing do not keep others from their answers for long.
    let silent: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect(controller).unwrap()).collect();
    crate::until("another client is answered", || scrape(controller).is_some()).await;
    drop(silent);
}

/// Writes what a quota agent would write that has counted the volume `one`.
fn count_as_agent(driver: &Driver) -> PathBuf {
    let state = driver.share().join(".nfs-subdir-csi");
    let folder = QuotaFolder::create(&Dir::open(&state).unwrap()).unwrap();
    let mut counts = Counts::default();
    counts.trash_bytes = 9;
    counts.add(State::Enforced);
    let (version, counts) = ("1".to_owned(), Some(counts));
    folder.introduce(&Agent { version, mode: Mode::Enforce, sign_seconds: 5, counts }).unwrap();
    let report = Report {
        project: 7,
        limit_bytes: 4096,
        used_bytes: 100,
        limit_inodes: 50,
        used_inodes: 3,
        ..Report::without_quota(State::Enforced, "")
    };
    folder.write(&VolumeKey::of_name("one"), &report).unwrap();
    // While files get their ids, what has been counted says nothing.
    folder.write(&VolumeKey::of_name("two"), &Report { state: State::Tagging, ..report }).unwrap();
    state.join("quota/agent.json")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_volumes_have_metrics_up_to_a_limit_and_while_an_agent_lives_what_it_has_counted() {
    let driver = Driver::start_with(Settings { measured_volumes: 2, ..fast(&["nas"]) }).await;
    let mut client = driver.controller.controller.clone();
    let claim = [("csi.storage.k8s.io/pvc/name", "data"), ("csi.storage.k8s.io/pvc/namespace", "shop")];
    client.create_volume(create("one", &claim)).await.unwrap();
    for name in ["two", "three"] {
        client.create_volume(create(name, &[])).await.unwrap();
    }
    let sign = count_as_agent(&driver);
    let one = r#"{export="fast",namespace="shop",claim="data",volume="one"}"#;
    // The keys are in order: one, three, two.
    let three = r#"{export="fast",namespace="",claim="",volume="three"}"#;
    let check = |metrics: &Metrics, expected: &[(String, Option<f64>)]| {
        for (sample, value) in expected {
            let found = metrics.value(&format!("nfs_subdir_csi_{sample}"));
            assert_eq!(&found, value, "{sample}\n{}", metrics.0);
        }
    };
    let sample = |name: &str, labels: &str| format!("{name}{labels}");
    let metrics = surveyed(&driver, "first").await;
    let fast = r#"{export="fast"}"#;
    check(
        &metrics,
        &[
            (sample("volume_promised_bytes", one), Some(f64::from(1 << 30))),
            (sample("volume_limit_bytes", one), Some(4096.0)),
            (sample("volume_used_bytes", one), Some(100.0)),
            (sample("volume_limit_inodes", one), Some(50.0)),
            (sample("volume_used_inodes", one), Some(3.0)),
            (sample("volume_promised_bytes", three), Some(f64::from(1 << 30))),
            (sample("volume_used_bytes", three), None),
            (sample("export_volumes_left_out", fast), Some(1.0)),
            (sample("export_trash_bytes", fast), Some(9.0)),
            (r#"export_quota_volumes{export="fast",state="enforced"}"#.to_owned(), Some(1.0)),
            (r#"export_quota_volumes{export="fast",state="over"}"#.to_owned(), Some(0.0)),
        ],
    );
    let now = std::time::SystemTime::now();
    let seconds = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let told = metrics.value(&format!("nfs_subdir_csi_export_quota_agent_timestamp_seconds{fast}")).unwrap();
    assert!((seconds - told).abs() < 60.0, "{told}");

    // With room for all, none is left out, and nothing is told of a volume whose files are being counted.
    driver.settings.set(Settings { measured_volumes: 3, ..fast_with(&driver) });
    let two = r#"{export="fast",namespace="",claim="",volume="two"}"#;
    let metrics = surveyed(&driver, "second").await;
    check(
        &metrics,
        &[
            (sample("export_volumes_left_out", fast), Some(0.0)),
            (sample("volume_promised_bytes", two), Some(f64::from(1 << 30))),
            (sample("volume_used_bytes", two), None),
        ],
    );

    // A silent agent's numbers are not told, and the time of its last sign is.
    let hour_ago = now - Duration::from_hours(1);
    std::fs::File::options().append(true).open(sign).unwrap().set_modified(hour_ago).unwrap();
    let metrics = surveyed(&driver, "third").await;
    check(
        &metrics,
        &[
            (sample("volume_promised_bytes", one), Some(f64::from(1 << 30))),
            (sample("volume_used_bytes", one), None),
            (sample("export_trash_bytes", fast), None),
            (r#"export_quota_volumes{export="fast",state="enforced"}"#.to_owned(), None),
        ],
    );
    let told = metrics.value(&format!("nfs_subdir_csi_export_quota_agent_timestamp_seconds{fast}")).unwrap();
    assert!((seconds - 3600.0 - told).abs() < 60.0, "{told}");

    // This is off unless the configuration asks for it.
    driver.settings.set(Settings { measured_volumes: 0, ..fast_with(&driver) });
    let metrics = surveyed(&driver, "fourth").await;
    assert!(!metrics.0.contains("nfs_subdir_csi_volume_promised_bytes{"), "{}", metrics.0);
    check(&metrics, &[(sample("export_volumes_left_out", fast), None)]);
}

/// The present settings.
fn fast_with(driver: &Driver) -> Settings {
    (*driver.settings.get()).clone()
}

/// A row of docs/METRICS.md: the type, the labels, and which services have the metric.
type Row = (String, Vec<String>, Vec<String>);

fn documented() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let words = |cell: &str| -> Vec<String> {
        let words = cell.split(',').map(|word| word.trim().trim_matches('`').to_owned());
        words.filter(|word| !word.is_empty()).collect()
    };
    let rows = text.lines().filter(|line| line.starts_with("| `nfs_subdir_csi_"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').skip(1).collect();
        let name = cells[0].trim().trim_matches('`').to_owned();
        (name, (cells[1].trim().to_owned(), words(cells[2]), words(cells[3])))
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_metrics_are_documented() {
    let (driver, [_, node]) = measured(Settings { measured_volumes: 2, ..fast(&["nas"]) }).await;
    let volume = driver.controller.controller.clone().create_volume(create("one", &[])).await.unwrap();
    let volume = volume.into_inner().volume.unwrap();
    count_as_agent(&driver);
    driver.node.node.clone().node_publish_volume(publish(&volume, &driver.target("a"), &[])).await.unwrap();
    let of_controller = surveyed(&driver, "later").await;
    let mut exposed: BTreeMap<String, Row> = BTreeMap::new();
    for (service, metrics) in [("controller", of_controller), ("node", scrape(node).unwrap())] {
        // For `deploy/monitoring/check`.
        if let Some(folder) = std::env::var_os("NFS_SUBDIR_CSI_SCRAPES") {
            std::fs::write(Path::new(&folder).join(format!("{service}.txt")), &metrics.0).unwrap();
        }
        for (name, (kind, labels)) in metrics.families() {
            // There is no NFS mount here, and nothing in the trash. tests/kernel has both.
            let is_of_export = name.starts_with("nfs_subdir_csi_export_");
            let is_empty = is_of_export && labels.is_empty();
            let labels = if is_empty { vec!["export".to_owned()] } else { labels.into_iter().collect() };
            let row = exposed.entry(name).or_insert_with(|| (kind.clone(), labels.clone(), Vec::new()));
            assert_eq!((&row.0, &row.1), (&kind, &labels));
            row.2.push(service.to_owned());
        }
    }
    let documented = documented();
    for (name, row) in &exposed {
        assert_eq!(documented.get(name), Some(row), "{name}: exposed on the right, documented on the left");
    }
    assert_eq!(documented.keys().collect::<Vec<_>>(), exposed.keys().collect::<Vec<_>>());
}
