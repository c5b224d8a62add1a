//! The commands for operators, on a share that they mount themselves.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};
use std::time::Instant;

use nfs_subdir_csi::csi::proto::{self, Volume};
use nfs_subdir_csi::volume::name::sub_dir::SubDir;
use nfs_subdir_csi::volume::share::record::Record;
use serde_json::Value;

use crate::fixture::{Driver, Setup, answer, binary, mounts, say, server, text};
use crate::support;

const CONFIG: &str = "/run/operate.yaml";

fn configure() {
    let exports = "exports: [{name: fast, server: nfs-server, share: /share, trashRetention: 1h}]";
    fs::write(CONFIG, format!("{exports}\ndefaultExport: fast\ninstallation: blue\n")).unwrap();
}

/// A driver with the export `fast`, where deleted volumes are kept.
async fn driver() -> Driver {
    configure();
    Driver::start_with(Setup { args: &["--config", CONFIG], versions: &[] }).await
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).args(["--config", CONFIG, "--state-dir", "/run/operate"]);
    let superblocks = mounts::superblocks();
    let output = command.output().unwrap();
    assert_eq!(mounts::superblocks(), superblocks, "{arguments:?} has left a mount");
    output
}

/// The objects that a command prints, and its exit code.
fn objects(arguments: &[&str]) -> (Vec<Value>, i32) {
    let output = run(&[arguments, &["--json"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let objects = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line} {errors}")));
    (objects.collect(), output.status.code().unwrap())
}

async fn create(driver: &Driver, name: &str) -> Volume {
    driver.try_create(support::create(name, &[])).await.unwrap()
}

/// The values of a key, sorted.
fn all<'a>(objects: &'a [Value], key: &str) -> Vec<&'a str> {
    let mut values: Vec<&str> = objects.iter().map(|object| object[key].as_str().unwrap()).collect();
    values.sort_unstable();
    values
}

#[tokio::test]
async fn what_lies_on_an_export_is_listed() {
    let driver = driver().await;
    let claim = [("csi.storage.k8s.io/pvc/name", "data"), ("csi.storage.k8s.io/pvc/namespace", "shop")];
    driver.try_create(support::create("one", &claim)).await.unwrap();
    create(&driver, "two").await;
    fs::write(server::exported("/share/one/file"), vec![7; 5000]).unwrap();
    let take = proto::CreateSnapshotRequest {
        source_volume_id: "fast#one".to_owned(),
        name: "photo".to_owned(),
        ..Default::default()
    };
    answer(driver.controller_client().create_snapshot(take)).await.unwrap();

    let (volumes, code) = objects(&["volumes"]);
    assert_eq!((all(&volumes, "handle"), code), (vec!["fast#one", "fast#two"], 0));
    assert_eq!(volumes[0]["capacityBytes"], 1 << 30);
    assert_eq!(all(&volumes, "installation"), ["blue", "blue"]);
    assert_eq!((&volumes[0]["namespace"], &volumes[0]["claim"]), (&"shop".into(), &"data".into()));
    assert!(volumes[1]["namespace"].is_null() && volumes[1]["claim"].is_null(), "{volumes:?}");
    let table = String::from_utf8(run(&["volumes"]).stdout).unwrap();
    let heading = "VOLUME    CLAIM      DIRECTORY  CAPACITY  ON DELETE  INSTALLATION  AGE\n";
    assert!(table.starts_with(heading), "{table}");
    assert!(table.contains("fast#one  shop/data  one        1.00 GiB  delete     blue"), "{table}");
    assert!(table.contains("fast#two  -          two        1.00 GiB  delete     blue"), "{table}");

    let (snapshots, _) = objects(&["snapshots"]);
    assert_eq!(all(&snapshots, "handle"), ["fast#photo"]);
    assert_eq!(all(&snapshots, "volume"), ["fast#one"]);
    let (exports, _) = objects(&["exports"]);
    assert_eq!((&exports[0]["volumes"], &exports[0]["snapshots"]), (&2.into(), &1.into()));
    assert_eq!(exports[0]["promisedBytes"], 2u64 << 30);
    let (usage, _) = objects(&["usage", "fast#one"]);
    assert_eq!((&usage[0]["files"], &usage[0]["contentBytes"]), (&1.into(), &5000.into()));

    // An export that cannot be mounted is named, and the others are listed.
    let output = run(&["volumes", "--export", "nfs-server:/absent", "--export", "fast"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("fast#two"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nfs-server:/absent"));
}

#[tokio::test]
async fn a_deleted_volume_is_restored_byte_by_byte_and_published_again() {
    let driver = driver().await;
    let volume = create(&driver, "lost").await;
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    fs::create_dir(server::exported("/share/lost/deep")).unwrap();
    fs::write(server::exported("/share/lost/deep/file"), &content).unwrap();
    driver.delete(&volume).await.unwrap();
    let (trash, _) = objects(&["trash", "list"]);
    assert_eq!(trash.len(), 1);
    assert!(trash[0]["due"].as_i64().unwrap() - trash[0]["deleted"].as_i64().unwrap() > 3500);
    let name = trash[0]["name"].as_str().unwrap();

    let taken = run(&["trash", "restore", name, "--directory", "../x"]);
    assert_eq!(taken.status.code(), Some(1));
    let output = run(&["trash", "restore", name, "--capacity", "2Gi"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest: Value = serde_json::from_slice(&output.stdout).unwrap();
    let csi = &manifest["spec"]["csi"];
    let attributes = csi["volumeAttributes"].as_object().unwrap();
    let restored = Volume {
        volume_id: csi["volumeHandle"].as_str().unwrap().to_owned(),
        volume_context: attributes
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
            .collect(),
        ..Default::default()
    };
    assert_eq!(restored.volume_id, "fast#lost");
    let target = driver.publish(&restored, "a", &[]).await;
    assert_eq!(fs::read(target.join("deep/file")).unwrap(), content);
    driver.unpublish(&restored, &target).await.unwrap();
    assert_eq!(objects(&["trash", "list"]).0.len(), 0);
    // Deleting its PersistentVolume does not delete the files.
    driver.delete(&restored).await.unwrap();
    assert!(server::exported("/share/lost/deep/file").exists());
}

#[tokio::test]
async fn the_trash_is_emptied_only_by_those_who_mean_it() {
    let driver = driver().await;
    for name in ["one", "two"] {
        let volume = create(&driver, name).await;
        driver.delete(&volume).await.unwrap();
    }
    let refused = run(&["trash", "empty"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"));
    let young = run(&["trash", "empty", "--yes", "--older-than", "1h"]);
    assert!(young.status.success());
    let (trash, _) = objects(&["trash", "list"]);
    assert_eq!(trash.len(), 2);
    let one = trash.iter().find(|entry| entry["key"] == "one").unwrap()["name"].as_str().unwrap();
    assert!(run(&["trash", "empty", "--yes", one]).status.success());
    assert_eq!(all(&objects(&["trash", "list"]).0, "key"), ["two"]);
    assert_eq!(run(&["trash", "empty", "--yes", one]).status.code(), Some(1), "it is gone");
    assert!(run(&["trash", "empty", "--yes"]).status.success());
    assert_eq!(objects(&["trash", "list"]), (Vec::new(), 0));
    crate::fixture::until("nothing is left", || server::unfinished("/share").is_empty()).await;
}

#[tokio::test]
async fn orphans_are_found_and_only_own_volumes_are_deleted() {
    let driver = driver().await;
    for name in ["used", "unused", "other", "nameless", "gone"] {
        create(&driver, name).await;
    }
    let state = server::exported("/share/.nfs-subdir-csi/volumes");
    for (name, to) in [("other", r#""installation": "green""#), ("nameless", r#""x": "y""#)] {
        let record = fs::read_to_string(state.join(format!("{name}.json"))).unwrap();
        fs::write(state.join(format!("{name}.json")), record.replace(r#""installation": "blue""#, to))
            .unwrap();
    }
    fs::remove_dir(server::exported("/share/gone")).unwrap();
    fs::create_dir_all(server::exported("/share/stray/deep")).unwrap();
    fs::create_dir(server::exported("/share/archived-old")).unwrap();
    let pvs = driver.dir().join("pvs.json");
    let pv =
        |handle: &str| format!(r#"{{"spec": {{"csi": {{"driver": "d", "volumeHandle": "{handle}"}}}}}}"#);
    fs::write(&pvs, format!(r#"{{"items": [{}, {}]}}"#, pv("fast#used"), pv("fast#gone"))).unwrap();

    let (found, code) = objects(&["orphans"]);
    let found: BTreeSet<(&str, &str)> = found
        .iter()
        .map(|orphan| (orphan["kind"].as_str().unwrap(), orphan["what"].as_str().unwrap()))
        .filter(|(_, what)| !crate::canary::Canary::is_named(what))
        .collect();
    let expected = [
        ("directory-without-record", "archived-old"),
        ("directory-without-record", "stray"),
        ("record-without-directory", "fast#gone"),
    ];
    assert_eq!((found, code), (BTreeSet::from(expected), 3));

    let with_pvs = ["orphans", "--pvs", text(&pvs)];
    let (found, _) = objects(&with_pvs);
    let unused: Vec<&Value> = found.iter().filter(|orphan| orphan["kind"] == "unused").collect();
    let mut handles: Vec<&str> = unused.iter().map(|orphan| orphan["what"].as_str().unwrap()).collect();
    handles.sort_unstable();
    assert_eq!(handles, ["fast#nameless", "fast#unused"]);

    let refused = run(&[&with_pvs[..], &["--delete"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(server::exported("/share/unused").exists());
    assert!(run(&[&with_pvs[..], &["--delete", "--yes"]].concat()).status.success());
    for name in ["used", "other", "nameless", "stray/deep", "archived-old"] {
        assert!(server::exported("/share").join(name).exists(), "{name}");
    }
    assert!(!server::exported("/share/unused").exists());
    assert_eq!(all(&objects(&["trash", "list"]).0, "key"), ["unused"], "it is in the trash");
}

/// How long a command takes, and its peak of resident memory in kilobytes.
fn measure(arguments: &[&str], rows: usize) -> (f64, u64) {
    let time = "/run/operate-time";
    let mut command = Command::new("sh");
    // The shell executes the command, so the peak in its status is that of the command.
    let script = r#""$0" "$@" & pid=$!; peak=0
        while read=$(grep VmHWM /proc/$pid/status 2>/dev/null); do peak=$read; sleep 0.05; done
        wait $pid; code=$?; echo "$peak" >/run/operate-time; exit $code"#;
    command.args(["-c", script, binary()]).args(arguments);
    command.args(["--config", CONFIG, "--state-dir", "/run/operate", "--json"]);
    let begun = Instant::now();
    let output = command.output().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    assert!(lines >= rows, "{arguments:?}: {lines} rows: {}", String::from_utf8_lossy(&output.stderr));
    let peak = fs::read_to_string(time).unwrap();
    (seconds, peak.split_whitespace().nth(1).unwrap().parse().unwrap())
}

#[tokio::test]
async fn ten_thousand_volumes_are_listed_with_little_memory() {
    const MANY: usize = 10_000;
    let driver = driver().await;
    let volume = create(&driver, "first").await;
    driver.delete(&volume).await.unwrap();
    let share = server::exported("/share");
    let mut peaks: Vec<Vec<u64>> = Vec::new();
    let mut begin = 0;
    for count in [MANY / 10, MANY] {
        for number in begin..count {
            let name = format!("pvc-{number:036}");
            let record = Record::new(name.clone(), SubDir::parse(&format!("default-claim-{name}")).unwrap());
            fs::write(share.join(format!(".nfs-subdir-csi/volumes/{name}.json")), record.to_json()).unwrap();
            fs::create_dir(share.join(record.sub_dir.as_str())).unwrap();
            let deleted = format!("{name}.ffffffff.0.0.c0ffee.{number:x}");
            fs::create_dir(share.join(".nfs-subdir-csi/deleted").join(deleted)).unwrap();
        }
        begin = count;
        let mut own = Vec::new();
        for (arguments, rows) in
            [(&["volumes"][..], count), (&["trash", "list"], count), (&["orphans"], 0), (&["exports"], 1)]
        {
            let (seconds, peak) = measure(arguments, rows);
            say(&format!("{count} volumes: {arguments:?} takes {seconds:.1} s and at most {peak} kB"));
            own.push(peak);
        }
        peaks.push(own);
    }
    for (few, many) in peaks[0].iter().zip(&peaks[1]) {
        assert!(many.saturating_sub(*few) < 16_000, "{peaks:?}");
    }
}
