//! The takeover, with the real binary on a share that two other provisioners have filled.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A share as the two leave it, and the PersistentVolumes that go with it.
fn share() -> tempfile::TempDir {
    let temporary = tempfile::tempdir().unwrap();
    let share = temporary.path().join("share");
    for dir in ["default-data-pvc-1", "pvc-2", "ns/claim", "archived-old", "orphan", "by-hand", "outer/inner"]
    {
        fs::create_dir_all(share.join(dir)).unwrap();
        fs::write(share.join(dir).join("file"), dir).unwrap();
    }
    std::os::unix::fs::symlink("/etc", share.join("link")).unwrap();
    let in_tree = |name: &str, path: &str| pv(name, &json!({ "nfs": { "server": "nas", "path": path } }));
    let csi = |name: &str, handle: &str| {
        let attributes = json!({ "server": "nas", "share": "/srv", "subdir": "by-hand" });
        let csi =
            json!({ "driver": "nfs.csi.k8s.io", "volumeHandle": handle, "volumeAttributes": attributes });
        pv(name, &json!({ "csi": csi }))
    };
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        in_tree("pvc-1", "/srv/default-data-pvc-1"),
        csi("pvc-2", "nas#srv#pvc-2##archive"),
        csi("pvc-3", "nas#srv#ns/claim#pvc-3#"),
        csi("static", "free text"),
        in_tree("whole-share", "/srv"),
        in_tree("elsewhere", "/other/x"),
        in_tree("prefix", "/srvx/y"),
        in_tree("hostile", "/srv/../etc"),
        in_tree("linked", "/srv/link"),
        in_tree("missing", "/srv/gone"),
        in_tree("outer", "/srv/outer"),
        in_tree("inner", "/srv/outer/inner"),
        pv("local", &json!({ "hostPath": { "path": "/x" } })),
    ]});
    fs::write(temporary.path().join("pvs.json"), list.to_string()).unwrap();
    temporary
}

fn pv(name: &str, source: &Value) -> Value {
    let mut spec = json!({
        "capacity": { "storage": "5Gi" },
        "accessModes": ["ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Delete",
        "storageClassName": "nfs-client",
        "mountOptions": ["nfsvers=4.1"],
        "claimRef": { "namespace": "default", "name": format!("{name}-claim"), "uid": "u-1", "resourceVersion": "7" },
    });
    spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    json!({ "metadata": { "name": name, "creationTimestamp": "2024-01-02T03:04:05Z" }, "spec": spec })
}

fn import(temporary: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nfs-subdir-csi"));
    command.args(["import", "--server", "nas", "--share", "/srv", "--pvs"]).arg(temporary.join("pvs.json"));
    command
        .arg("--directory")
        .arg(temporary.join("share"))
        .arg("--manifests")
        .arg(temporary.join("new.json"));
    command.args(more).output().unwrap()
}

/// Every name below the share with type, mode, owner, time and content, but for the driver's own directory.
fn fingerprint(share: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut places = vec![share.to_owned()];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(&place).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(".nfs-subdir-csi") {
                continue;
            }
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            all.push(format!(
                "{} {:o} {} {} {content}",
                path.display(),
                meta.mode(),
                meta.uid(),
                meta.mtime_nsec()
            ));
            if meta.is_dir() {
                places.push(path);
            }
        }
    }
    all.sort();
    all
}

fn row(output: &Output, name: &str) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no row {name} in\n{text}")).to_owned()
}

#[test]
fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let temporary = share();
    let share = temporary.path().join("share");
    let before = fingerprint(&share);
    let output = import(temporary.path(), &[]);
    assert!(!output.status.success(), "there are conflicts");
    assert!(!share.join(".nfs-subdir-csi").exists());
    assert_eq!(fingerprint(&share), before);
    for (name, words) in [
        ("pvc-1", "default-data-pvc-1  5Gi       retain     to be imported"),
        ("pvc-2", "archive    to be imported"),
        ("pvc-3", "ns/claim"),
        ("static", "by-hand"),
        ("whole-share", "left alone: on another share"),
        ("elsewhere", "left alone: on another share"),
        ("prefix", "left alone: on another share"),
        ("hostile", "CONFLICT: sub-directory"),
        ("linked", "CONFLICT:"),
        ("missing", "CONFLICT: the directory gone is not there"),
        ("outer", "CONFLICT: another PersistentVolume has this directory"),
        ("inner", "CONFLICT: another PersistentVolume has this directory"),
        ("local", "left alone: not on NFS"),
    ] {
        let row = row(&output, name);
        assert!(row.contains(words), "{row}");
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("  archived-old\n") && text.contains("  orphan\n"), "{text}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("4 would be imported, 0 are already, 5 conflicts; nothing was written"), "{said}");
}

#[test]
fn an_import_writes_records_touches_no_data_and_is_done_once() {
    let temporary = share();
    let share = temporary.path().join("share");
    let before = fingerprint(&share);
    let output = import(temporary.path(), &["--yes", "--export", "fast"]);
    assert!(row(&output, "pvc-1").ends_with("  imported"));
    assert_eq!(fingerprint(&share), before);
    let records = share.join(".nfs-subdir-csi/volumes");
    assert_eq!(records.read_dir().unwrap().count(), 4);
    let record: Value = serde_json::from_slice(&fs::read(records.join("pvc-2.json")).unwrap()).unwrap();
    assert_eq!(record["sub_dir"], "pvc-2");
    assert_eq!(record["on_delete"], "archive");
    assert_eq!(record["capacity_bytes"], 5_368_709_120u64);
    assert_eq!(record["created"], 1_704_164_645);

    let manifests: Value =
        serde_json::from_slice(&fs::read(temporary.path().join("new.json")).unwrap()).unwrap();
    assert_eq!(manifests["items"].as_array().unwrap().len(), 4);
    let first = &manifests["items"][0];
    assert_eq!(first["metadata"]["name"], "pvc-1");
    assert_eq!(first["spec"]["csi"]["volumeHandle"], "fast#pvc-1");
    assert_eq!(
        first["spec"]["csi"]["volumeAttributes"],
        json!({ "export": "fast", "subDir": "default-data-pvc-1" })
    );
    assert_eq!(first["spec"]["mountOptions"], json!(["nfsvers=4.1"]));
    let claim = json!({ "namespace": "default", "name": "pvc-1-claim", "uid": "u-1" });
    assert_eq!(first["spec"]["claimRef"], claim);

    let again = import(temporary.path(), &["--yes", "--export", "fast"]);
    assert!(row(&again, "pvc-1").ends_with("already imported"));
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("0 imported, 4 were already, 5 conflicts"), "{said}");
}
