//! The command `import`: the real binary on a share that two other provisioners have filled.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A share as the two other provisioners leave it, and its PersistentVolumes.
fn share() -> tempfile::TempDir {
    let temporary = tempfile::tempdir().unwrap();
    let share = temporary.path().join("share");
    for dir in [
        "default-data-pvc-1",
        "pvc-2",
        "ns/claim",
        "ns/left",
        "archived-old",
        "orphan",
        "by-hand",
        "old",
        "outer/inner",
        "twice",
        "going",
        "odd",
        "two-places",
    ] {
        fs::create_dir_all(share.join(dir)).unwrap();
        fs::write(share.join(dir).join("file"), dir).unwrap();
    }
    fs::set_permissions(share.join("pvc-2"), fs::Permissions::from_mode(0o2750)).unwrap();
    std::os::unix::fs::chown(share.join("pvc-2"), Some(1234), Some(5678)).unwrap();
    fs::set_permissions(share.join("pvc-2"), fs::Permissions::from_mode(0o2750)).unwrap();
    std::os::unix::fs::symlink("/etc", share.join("link")).unwrap();
    let in_tree = |name: &str, path: &str| pv(name, &json!({ "nfs": { "server": "nas", "path": path } }));
    let csi = |name: &str, handle: &str, attributes: Value| {
        let csi =
            json!({ "driver": "nfs.csi.k8s.io", "volumeHandle": handle, "volumeAttributes": attributes });
        pv(name, &json!({ "csi": csi }))
    };
    let at = |sub_dir: &str| json!({ "server": "nas", "share": "/srv", "subdir": sub_dir });
    let mut by_hand = csi("static", "free text", at("by-hand"));
    by_hand["spec"]["csi"]["volumeAttributes"]["mountOptions"] = json!("nfsvers=3,nolock");
    by_hand["spec"]["csi"]["nodePublishSecretRef"] = json!({ "name": "s", "namespace": "kube-system" });
    let mut read_only = in_tree("pvc-1", "/srv/default-data-pvc-1");
    read_only["spec"]["nfs"]["readOnly"] = json!(true);
    let mut going = in_tree("going", "/srv/going");
    going["metadata"]["deletionTimestamp"] = json!("2025-01-01T00:00:00Z");
    let mut odd = in_tree("odd", "/srv/odd");
    odd["spec"]["capacity"]["storage"] = json!("lots");
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        read_only,
        csi("pvc-2", "nas#srv#pvc-2##archive", at("pvc-2")),
        csi("pvc-3", "nas#srv#ns/claim#pvc-3#", at("ns/claim")),
        by_hand,
        csi("old", "nas/srv/old", json!({ "server": "nas", "share": "/srv/old" })),
        in_tree("whole-share", "/srv"),
        in_tree("elsewhere", "/other/x"),
        in_tree("prefix", "/srvx/y"),
        pv("other-server", &json!({ "nfs": { "server": "nas2", "path": "/srv/orphan" } })),
        pv("local", &json!({ "hostPath": { "path": "/x" } })),
        in_tree("hostile", "/srv/../etc"),
        in_tree("linked", "/srv/link"),
        in_tree("missing", "/srv/gone"),
        in_tree("outer", "/srv/outer"),
        in_tree("inner", "/srv/outer/inner"),
        in_tree("one", "/srv/twice"),
        csi("two", "nas#srv#twice##", at("twice")),
        csi("torn", "nas#srv#two-places##", at("orphan")),
        going,
        odd,
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
        "volumeMode": "Filesystem",
        "mountOptions": ["nfsvers=4.1"],
        "claimRef": { "kind": "PersistentVolumeClaim", "namespace": "default", "name": format!("{name}-claim"),
                      "uid": "u-1", "resourceVersion": "7" },
    });
    spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    let metadata = json!({
        "name": name, "uid": "x", "resourceVersion": "9", "creationTimestamp": "2024-01-02T03:04:05Z",
        "finalizers": ["kubernetes.io/pv-protection"], "labels": { "team": "shop" },
        "annotations": {
            "pv.kubernetes.io/provisioned-by": "cluster.local/nfs",
            "volume.kubernetes.io/provisioner-deletion-secret-name": "nfs-options",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        },
    });
    json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec,
            "status": { "phase": "Bound" } })
}

fn import(temporary: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nfs-subdir-csi"));
    command.args(["import", "--server", "nas", "--share", "/srv", "--pvs"]).arg(temporary.join("pvs.json"));
    command.arg("--directory").arg(temporary.join("share"));
    command.args(more).output().unwrap()
}

fn import_to_file(temporary: &Path, more: &[&str]) -> Output {
    let file = temporary.join("new.json").display().to_string();
    import(temporary, &[&["--manifests", &file], more].concat())
}

/// Every entry below the share with its attributes and content. The times of the top directory are not included.
fn listing(share: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut places = vec![share.to_owned()];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(&place).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            all.push(format!(
                "{} {} {:o} {}:{} {} {} {} {content}",
                path.strip_prefix(share).unwrap().display(),
                meta.ino(),
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.nlink(),
                meta.mtime_nsec(),
                meta.ctime_nsec(),
            ));
            if meta.is_dir() {
                places.push(path);
            }
        }
    }
    all.sort();
    all
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn row<'a>(output: &'a Output, name: &str) -> &'a str {
    let text = text(&output.stdout);
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no row {name} in\n{text}"))
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let temporary = share();
    let share = temporary.path().join("share");
    let before = listing(&share);
    let output = import_to_file(temporary.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "conflicts make the command fail");
    assert_eq!(listing(&share), before);
    for (name, words) in [
        ("pvc-1", "default/pvc-1-claim         default-data-pvc-1  5Gi       retain     to be imported"),
        ("pvc-2", "archive    to be imported"),
        ("pvc-3", "ns/claim "),
        ("static", "by-hand "),
        ("old", "old  "),
        ("whole-share", "left alone: the share itself"),
        ("elsewhere", "left alone: not within /srv: /other/x"),
        ("prefix", "left alone: not within /srv: /srvx/y"),
        ("other-server", "left alone: on the server nas2"),
        ("local", "left alone: not on NFS"),
        ("hostile", "CONFLICT: sub-directory"),
        ("linked", "CONFLICT: a part of its path is a symbolic link"),
        ("missing", "CONFLICT: the directory does not exist"),
        ("outer", "CONFLICT: the PersistentVolume inner has the directory outer/inner"),
        ("inner", "CONFLICT: the PersistentVolume outer has the directory outer"),
        ("one", "CONFLICT: the PersistentVolume two has the same directory"),
        ("two", "CONFLICT: the PersistentVolume one has the same directory"),
        ("torn", "CONFLICT: its handle names nas:/srv/two-places, but its attributes name nas:/srv/orphan"),
        ("going", "CONFLICT: the PersistentVolume is being deleted"),
        ("odd", "CONFLICT: its capacity \"lots\" is not a number of bytes"),
    ] {
        let row = row(&output, name);
        assert!(row.contains(words), "{row}");
    }
    let orphans = text(&output.stdout).split_once("left alone:\n").unwrap().1;
    assert_eq!(orphans, "  archived-old (an archive)\n  ns/left\n  orphan\n  two-places\n");
    let said = text(&output.stderr);
    assert!(
        said.contains("5 would be imported, 0 already imported, 5 left alone, 10 in conflict; no record"),
        "{said}"
    );
}

#[test]
fn an_import_writes_only_records_and_repeating_it_changes_nothing() {
    let temporary = share();
    let share = temporary.path().join("share");
    let before = listing(&share);
    let output = import_to_file(temporary.path(), &["--yes"]);
    assert!(row(&output, "pvc-1").ends_with("  imported"));
    let after = listing(&share);
    let new =
        after.iter().filter(|entry| !before.contains(entry)).map(|entry| entry.split(' ').next().unwrap());
    let state = ".nfs-subdir-csi";
    let mut expected = vec![state.to_owned()];
    let folders = ["claims", "deleted", "inside", "processes", "spare", "spare/alive", "volumes"];
    expected.extend(folders.map(|name| format!("{state}/{name}")));
    expected.extend(
        ["old", "pvc-1", "pvc-2", "pvc-3", "static"].map(|name| format!("{state}/volumes/{name}.json")),
    );
    let (claims, others): (Vec<&str>, Vec<&str>) = new.partition(|path| {
        ["claims", "inside"].iter().any(|part| path.starts_with(&format!("{state}/{part}/")))
    });
    assert_eq!(others, expected);
    // A claim for each record; a mark that all records have one; and one folder with an entry, for the directory with a parent.
    assert_eq!(claims.len(), 5 + 1 + 2, "{claims:?}");
    assert!(before.iter().all(|entry| after.contains(entry)), "existing files have not changed");

    let record = json_of(&share.join(state).join("volumes/pvc-2.json"));
    assert_eq!(
        record,
        json!({
            "name": "pvc-2",
            "pvc": "default/pvc-2-claim",
        "sub_dir": "pvc-2",
            "capacity_bytes": 5_368_709_120u64,
            "on_delete": "archive",
            "ownership": { "mode": 0o2750, "uid": 1234, "gid": 5678 },
            "created": 1_704_164_645,
        })
    );

    let again = import_to_file(temporary.path(), &["--yes"]);
    assert!(row(&again, "pvc-1").ends_with("already imported"));
    assert!(text(&again.stderr).contains("0 imported, 5 already imported, 5 left alone, 10 in conflict"));
    assert_eq!(listing(&share), after);
}

#[test]
fn an_import_without_conflicts_succeeds_and_prints_only_manifests() {
    let temporary = share();
    let mut list = json_of(&temporary.path().join("pvs.json"));
    list["items"].as_array_mut().unwrap().truncate(10);
    fs::write(temporary.path().join("pvs.json"), list.to_string()).unwrap();
    let output = import(temporary.path(), &["--export", "fast", "--on-delete", "delete"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let manifests: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(manifests["items"].as_array().unwrap().len(), 5);
    assert_eq!(
        manifests["items"][0],
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": "pvc-1",
                "labels": { "team": "shop" },
                "annotations": {
                    "pv.kubernetes.io/provisioned-by": "nfs-subdir.csi.dev",
                    "nfs-subdir.csi.dev/old-reclaim-policy": "Delete",
                    "volume.kubernetes.io/provisioner-deletion-secret-name": "nfs-options",
                },
            },
            "spec": {
                "capacity": { "storage": "5Gi" },
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "nfs-client",
                "volumeMode": "Filesystem",
                "mountOptions": ["nfsvers=4.1"],
                "claimRef": { "kind": "PersistentVolumeClaim", "namespace": "default", "name": "pvc-1-claim",
                              "uid": "u-1" },
                "csi": {
                    "driver": "nfs-subdir.csi.dev",
                    "volumeHandle": "fast#pvc-1",
                    "volumeAttributes": { "export": "fast", "subDir": "default-data-pvc-1" },
                    "readOnly": true,
                },
            },
        })
    );
    let by_hand = &manifests["items"][3]["spec"]["csi"];
    assert_eq!(by_hand["volumeAttributes"]["mountOptions"], "nfsvers=3,nolock", "the mount options are kept");
    assert_eq!(by_hand["nodePublishSecretRef"]["name"], "s");
}

#[test]
fn a_directory_that_a_record_names_is_not_given_to_a_second_volume() {
    let temporary = share();
    let volumes = temporary.path().join("share/.nfs-subdir-csi/volumes");
    for part in ["volumes", "work", "trash"] {
        fs::create_dir_all(volumes.with_file_name(part)).unwrap();
    }
    let record = |name: &str, sub_dir: &str| {
        let ownership = json!({ "mode": 0o770 });
        json!({ "name": name, "sub_dir": sub_dir, "capacity_bytes": 1, "on_delete": "delete",
                "ownership": ownership, "created": 0 })
        .to_string()
    };
    fs::write(volumes.join("mine.json"), record("mine", "default-data-pvc-1")).unwrap();
    fs::write(volumes.join("static.json"), record("static", "elsewhere")).unwrap();
    // An expansion under the old handle leaves such a record.
    let handle = "nas#srv#pvc-2##archive";
    let key = nfs_subdir_csi::volume::name::handle::VolumeKey::of_name(handle);
    fs::write(volumes.join(format!("{key}.json")), record(handle, "pvc-2")).unwrap();
    let output = import_to_file(temporary.path(), &["--yes"]);
    for (name, words) in [
        ("pvc-1", "CONFLICT: this driver's volume mine has the same directory"),
        ("static", "CONFLICT: this driver's volume static has the same key and the directory elsewhere"),
        ("pvc-2", "left alone: has a record under its old handle"),
        ("pvc-3", "imported"),
    ] {
        assert!(row(&output, name).contains(words), "{}", row(&output, name));
    }
    let manifests = json_of(&temporary.path().join("new.json"));
    let names: Vec<&str> = manifests["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pv| pv["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["pvc-3", "old"]);

    // A record that the driver does not understand could name any directory, so nothing is imported then.
    fs::write(volumes.join("later.json"), r#"{"new": 1}"#).unwrap();
    let output = import_to_file(temporary.path(), &["--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("this version of the driver cannot read the record"),
        "{}",
        text(&output.stderr)
    );
}
