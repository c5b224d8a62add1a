//! Other file systems of the server, mounted below the share: a ZFS dataset or an export with `crossmnt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nfs_subdir_csi::csi::proto::{self, Volume};
use proto::volume_content_source::{Type, VolumeSource};
use tonic::Code;

use crate::fixture::{BINARY, Driver, answer, assert_refused, new_volume, server, text, until};
use crate::support;

/// A file system that the server has mounted and exported within another one. It has the file `data`.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: &str, number: u32) -> Self {
        let place = server::exported(path);
        fs::create_dir_all(&place).unwrap();
        server::run(
            Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755,size=16M", "tmpfs"]).arg(&place),
        );
        fs::write(place.join("data"), "precious").unwrap();
        let options = "rw,no_root_squash,insecure,no_subtree_check";
        // With NFS 3, only `nohide` or `crossmnt` lets a client cross into it.
        let options = format!("{options},nohide,fsid={number}");
        server::run(Command::new("exportfs").args(["-o", &options, &format!("*:{}", place.display())]));
        Self(place)
    }

    fn is_whole(&self) -> bool {
        fs::read_to_string(self.0.join("data")).is_ok_and(|content| content == "precious")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let export = format!("*:{}", self.0.display());
        let _ = Command::new("exportfs").args(["-u", &export]).status();
        // It fails if the file system was unmounted already.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A request for a volume on `/share`, mounted with this version of NFS.
pub(super) fn in_version(
    name: &str,
    version: &str,
    parameters: &[(&str, &str)],
) -> proto::CreateVolumeRequest {
    let mut request = new_volume(name, parameters);
    let flags = [&format!("nfsvers={version}")[..]];
    request.volume_capabilities =
        vec![support::capability(proto::volume_capability::access_mode::Mode::MultiNodeMultiWriter, &flags)];
    request
}

#[tokio::test]
async fn a_volume_on_another_file_system_than_the_share_is_refused_and_leaves_nothing() {
    for version in ["4.2", "3"] {
        let driver = Driver::start().await;
        let tank = Mounted::at("/share/tank", 77);
        fs::create_dir(tank.0.join("old")).unwrap();
        let source = driver.try_create(in_version("source", version, &[])).await.unwrap();
        fs::write(server::directory(&source).join("file"), "data").unwrap();

        let parameters: [(&str, &[(&str, &str)]); 5] = [
            ("new", &[("subDir", "tank/v")]),
            ("deep", &[("subDir", "tank/a/b/v")]),
            ("old", &[("subDir", "tank/old"), ("onDelete", "retain")]),
            ("top", &[("subDir", "tank"), ("onDelete", "retain")]),
            ("owned", &[("subDir", "tank/v"), ("uid", "1000")]),
        ];
        for (name, parameters) in parameters {
            let refused = driver.try_create(in_version(name, version, parameters)).await;
            assert!(refused.is_err(), "NFS {version}: {name}");
            assert_refused(refused, Code::FailedPrecondition, "is not on the file system of");
        }
        let mut clone = in_version("clone", version, &[("subDir", "tank/v")]);
        let kind = Type::Volume(VolumeSource { volume_id: source.volume_id.clone() });
        clone.volume_content_source = Some(proto::VolumeContentSource { r#type: Some(kind) });
        let refused = driver.try_create(clone).await;
        assert_refused(refused, Code::FailedPrecondition, "is not on the file system of");

        // A handle of csi-driver-nfs can name what is there.
        let foreign = Volume { volume_id: "nfs-server#share#tank/old##".to_owned(), ..Volume::default() };
        assert_refused(
            driver.delete(&foreign).await,
            Code::FailedPrecondition,
            "is not on the file system of",
        );

        let records = server::exported("/share/.nfs-subdir-csi/volumes").read_dir().unwrap().count();
        assert_eq!(records, 1, "NFS {version}: the source, and nothing else, has a record");
        assert_eq!(server::unfinished("/share"), Vec::<PathBuf>::new(), "NFS {version}");
        let mut left: Vec<_> = tank.0.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["data", "old"], "NFS {version}");
        drop(driver);
    }
}

#[tokio::test]
async fn import_refuses_a_directory_on_another_file_system() {
    let driver = Driver::start().await;
    let tank = Mounted::at("/share/tank", 77);
    fs::create_dir(tank.0.join("old")).unwrap();
    let pvs = driver.dir().join("pvs.json");
    let pv = r#"{"items": [{"metadata": {"name": "pvc-1"}, "spec": {
        "capacity": {"storage": "1Gi"}, "nfs": {"server": "nfs-server", "path": "/share/tank/old"}}}]}"#;
    fs::write(&pvs, pv).unwrap();
    let mut import = Command::new(BINARY);
    import.args(["import", "--server", "nfs-server", "--share", "/share", "--yes", "--pvs", text(&pvs)]);
    let output = import.args(["--state-dir", text(&driver.dir().join("import"))]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("on another file system than the share"), "{told}");
    assert!(!server::exported("/share/.nfs-subdir-csi/volumes/pvc-1.json").exists());
}

#[tokio::test]
async fn a_file_system_within_a_volume_is_neither_copied_nor_removed() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    fs::write(server::directory(&volume).join("file"), "data").unwrap();
    let inner = Mounted::at("/share/v/inner", 78);
    let snapshot = proto::CreateSnapshotRequest {
        source_volume_id: volume.volume_id.clone(),
        name: "s".to_owned(),
        ..Default::default()
    };
    let refused = answer(driver.controller_client().create_snapshot(snapshot)).await;
    assert_refused(refused, Code::FailedPrecondition, "v/inner: another file system is mounted here");
    driver.delete(&volume).await.unwrap();
    let gone =
        || Command::new("find").args(["/export/share/.nfs-subdir-csi", "-xdev", "-name", "file"]).output();
    until("the files of the volume are removed", || gone().unwrap().stdout.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let moved = server::run(Command::new("findmnt").args(["-n", "-o", "TARGET", "-t", "tmpfs"]));
    let moved = moved.lines().map(str::trim).find(|place| place.ends_with("/inner")).unwrap().to_owned();
    assert!(
        fs::read_to_string(Path::new(&moved).join("data")).is_ok_and(|data| data == "precious"),
        "{moved}"
    );
    drop(driver);
    server::run(Command::new("umount").arg("-l").arg(moved));
    assert!(!inner.is_whole());
}
