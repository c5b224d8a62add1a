//! Snapshots, groups of snapshots, and volumes that are restored or cloned.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nfs_subdir_csi::csi::proto;
use proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
use tonic::{Code, Status};

use crate::support::{create, delete, map};
use crate::{Driver, PARAMETERS};

fn snapshot(name: &str, source: &str) -> proto::CreateSnapshotRequest {
    proto::CreateSnapshotRequest {
        name: name.to_owned(),
        source_volume_id: source.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn from(name: &str, kind: Type) -> proto::CreateVolumeRequest {
    proto::CreateVolumeRequest {
        volume_content_source: Some(proto::VolumeContentSource { r#type: Some(kind) }),
        ..create(name, &PARAMETERS)
    }
}

pub(crate) fn of_snapshot(id: &str) -> Type {
    Type::Snapshot(SnapshotSource { snapshot_id: id.to_owned() })
}

fn of_volume(id: &str) -> Type {
    Type::Volume(VolumeSource { volume_id: id.to_owned() })
}

impl Driver {
    pub(crate) async fn make(&self, request: proto::CreateVolumeRequest) -> Result<proto::Volume, Status> {
        let mut controller = self.controller.controller.clone();
        controller.create_volume(request).await.map(|answer| answer.into_inner().volume.unwrap())
    }

    async fn snap(&self, name: &str, source: &str) -> Result<proto::Snapshot, Status> {
        let mut controller = self.controller.controller.clone();
        let answer = controller.create_snapshot(snapshot(name, source)).await?;
        Ok(answer.into_inner().snapshot.unwrap())
    }

    pub(crate) async fn drop_snapshot(&self, id: &str) -> Result<(), Status> {
        let request = proto::DeleteSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() };
        self.controller.controller.clone().delete_snapshot(request).await.map(drop)
    }

    async fn list(
        &self,
        request: proto::ListSnapshotsRequest,
    ) -> Result<proto::ListSnapshotsResponse, Status> {
        self.controller.controller.clone().list_snapshots(request).await.map(tonic::Response::into_inner)
    }

    /// How many unfinished copies there are on the share.
    pub(crate) fn drafts(&self) -> usize {
        let processes = self.share().join(".nfs-subdir-csi/processes");
        let entries = |dir: PathBuf| dir.read_dir().unwrap().map(|entry| entry.unwrap().path());
        // A draft is called `<key>.<unique>`. A directory that is being removed has more parts.
        let is_draft = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().split('.').count() == 2;
        entries(processes).flat_map(entries).filter(is_draft).count()
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_volume_restored_from_a_snapshot_has_what_its_source_had_then() {
    let driver = Driver::start().await;
    let volume = driver.make(create("v", &PARAMETERS)).await.unwrap();
    let dir = driver.share().join("v");
    std::fs::create_dir(dir.join("sub")).unwrap();
    write(&dir.join("sub/file"), "before");
    std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o2751)).unwrap();

    let taken = driver.snap("s", &volume.volume_id).await.unwrap();
    assert_eq!(taken.snapshot_id, "nas:/srv#s");
    assert!(taken.ready_to_use && taken.size_bytes > 0 && taken.creation_time.is_some());
    assert_eq!(
        driver.snap("s", &volume.volume_id).await.unwrap(),
        taken,
        "a repeated request has the same answer"
    );
    write(&dir.join("sub/file"), "after");

    // The snapshot does not depend on its volume.
    driver.controller.controller.clone().delete_volume(delete(&volume)).await.unwrap();
    assert_eq!(driver.snap("s", &volume.volume_id).await.unwrap(), taken);
    for _ in 0..2 {
        let restored = driver.make(from("r", of_snapshot(&taken.snapshot_id))).await.unwrap();
        assert_eq!(restored.content_source.unwrap().r#type, Some(of_snapshot(&taken.snapshot_id)));
    }
    let restored = driver.share().join("r");
    assert_eq!(read(&restored.join("sub/file")), "before");
    assert_eq!(restored.join("link").read_link().unwrap(), Path::new("/etc/passwd"));
    assert_eq!(restored.metadata().unwrap().mode() & 0o7777, 0o2751);

    driver.drop_snapshot(&taken.snapshot_id).await.unwrap();
    driver.drop_snapshot(&taken.snapshot_id).await.unwrap();
    let gone = driver.make(from("r2", of_snapshot(&taken.snapshot_id))).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{}", gone.message());
    assert!(!driver.share().join("r2").exists());
    assert_eq!(read(&restored.join("sub/file")), "before");
    assert_eq!(driver.drafts(), 0);
}

#[tokio::test]
async fn a_clone_is_independent_of_its_source_and_has_the_mode_of_its_class() {
    let driver = Driver::start().await;
    let volume = driver.make(create("v", &PARAMETERS)).await.unwrap();
    write(&driver.share().join("v/file"), "shared");
    let request = proto::CreateVolumeRequest {
        parameters: map(&[PARAMETERS[0], PARAMETERS[1], ("mountPermissions", "0755")]),
        ..from("c", of_volume(&volume.volume_id))
    };
    for _ in 0..2 {
        driver.make(request.clone()).await.unwrap();
    }
    write(&driver.share().join("v/file"), "changed");
    assert_eq!(read(&driver.share().join("c/file")), "shared");
    assert_eq!(driver.share().join("c").metadata().unwrap().mode() & 0o7777, 0o755);
    for other in [create("c", &PARAMETERS), from("c", of_volume("nas:/srv#other"))] {
        let status = driver.make(other).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{}", status.message());
    }
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_and_leaves_nothing() {
    let driver = Driver::start().await;
    let volume = driver.make(create("v", &PARAMETERS)).await.unwrap();
    let other = driver.make(create("w", &PARAMETERS)).await.unwrap();
    driver.snap("s", &volume.volume_id).await.unwrap();
    let id = &volume.volume_id;
    let small = |request: proto::CreateVolumeRequest| proto::CreateVolumeRequest {
        capacity_range: Some(proto::CapacityRange { required_bytes: 1 << 20, limit_bytes: 0 }),
        ..request
    };
    let nothing = proto::CreateVolumeRequest {
        volume_content_source: Some(proto::VolumeContentSource::default()),
        ..create("x", &PARAMETERS)
    };
    for (request, code) in [
        (from("x", of_volume("nas:/srv#none")), Code::NotFound),
        (from("x", of_volume("nonsense")), Code::NotFound),
        (from("x", of_snapshot("nas:/srv#none")), Code::NotFound),
        (from("x", of_snapshot("nas:/srv#s#0")), Code::NotFound),
        (from("x", of_snapshot("../x")), Code::NotFound),
        (from("x", of_snapshot("")), Code::InvalidArgument),
        (nothing, Code::InvalidArgument),
    ] {
        let status = driver.make(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{}", status.message());
        assert!(!driver.share().join("x").exists());
    }
    let status = driver.make(small(from("x", of_volume(id)))).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    for bytes in [1 << 20, volume.capacity_bytes] {
        assert!(status.message().contains(&bytes.to_string()), "no {bytes} in: {}", status.message());
    }
    assert!(!driver.share().join("x").exists());
    let elsewhere = proto::CreateSnapshotRequest {
        parameters: map(&[("server", "other"), ("share", "/srv")]),
        ..snapshot("t", id)
    };
    let unknown =
        proto::CreateSnapshotRequest { parameters: map(&[("shares", "/srv")]), ..snapshot("t", id) };
    for (request, code) in [
        (snapshot("s", &other.volume_id), Code::AlreadyExists),
        (snapshot("t", "nas:/srv#none"), Code::NotFound),
        (snapshot("t", "nonsense"), Code::NotFound),
        (snapshot("", id), Code::InvalidArgument),
        (snapshot("t", ""), Code::InvalidArgument),
        (elsewhere, Code::InvalidArgument),
        (unknown, Code::InvalidArgument),
    ] {
        let mut controller = driver.controller.controller.clone();
        let status = controller.create_snapshot(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{}", status.message());
    }
    assert_eq!(driver.drafts(), 0);
    // The parameters of csi-driver-nfs are accepted if they name the same export.
    let same = proto::CreateSnapshotRequest {
        parameters: map(&[("Server", "nas"), ("share", "/srv/")]),
        ..snapshot("t", id)
    };
    driver.controller.controller.clone().create_snapshot(same).await.unwrap();
}

#[tokio::test]
async fn snapshots_are_listed_page_by_page_by_volume_and_by_id() {
    let driver = Driver::start().await;
    let volume = driver.make(create("v", &PARAMETERS)).await.unwrap();
    let other = driver.make(create("w", &PARAMETERS)).await.unwrap();
    for number in 0..5 {
        driver.snap(&format!("s{number}"), &volume.volume_id).await.unwrap();
    }
    driver.snap("o", &other.volume_id).await.unwrap();
    let group = proto::CreateVolumeGroupSnapshotRequest {
        name: "g".to_owned(),
        source_volume_ids: vec![volume.volume_id.clone(), other.volume_id.clone()],
        ..Default::default()
    };
    driver.controller.group.clone().create_volume_group_snapshot(group).await.unwrap();

    for page in 1..=9 {
        let mut ids = Vec::new();
        let mut token = String::new();
        loop {
            let request = proto::ListSnapshotsRequest {
                max_entries: page,
                starting_token: token,
                ..Default::default()
            };
            let answer = driver.list(request).await.unwrap();
            assert!(answer.entries.len() <= usize::try_from(page).unwrap());
            ids.extend(answer.entries.into_iter().map(|entry| entry.snapshot.unwrap().snapshot_id));
            token = answer.next_token;
            if token.is_empty() {
                break;
            }
        }
        let all = ["o", "s0", "s1", "s2", "s3", "s4", "g#0", "g#1"].map(|name| format!("nas:/srv#{name}"));
        assert_eq!(ids, all, "in pages of {page}");
    }
    let of_other =
        proto::ListSnapshotsRequest { source_volume_id: other.volume_id.clone(), ..Default::default() };
    let listed = driver.list(of_other).await.unwrap().entries;
    let ids: Vec<_> = listed.into_iter().map(|entry| entry.snapshot.unwrap().snapshot_id).collect();
    assert_eq!(ids, ["nas:/srv#o", "nas:/srv#g#1"]);
    for (id, count) in
        [("nas:/srv#s3", 1), ("nas:/srv#g#1", 1), ("nas:/srv#g#2", 0), ("nas:/srv#none", 0), ("x", 0)]
    {
        let request = proto::ListSnapshotsRequest { snapshot_id: id.to_owned(), ..Default::default() };
        assert_eq!(driver.list(request).await.unwrap().entries.len(), count, "{id}");
        let request = proto::GetSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() };
        let found = driver.controller.controller.clone().get_snapshot(request).await;
        let expected = if count == 1 { Ok(()) } else { Err(Code::NotFound) };
        assert_eq!(found.map(drop).map_err(|status| status.code()), expected, "{id}");
    }
    for token in ["nonsense", "other:/srv#s"] {
        let request = proto::ListSnapshotsRequest { starting_token: token.to_owned(), ..Default::default() };
        assert_eq!(driver.list(request).await.unwrap_err().code(), Code::Aborted, "{token}");
    }
}

#[tokio::test]
async fn a_group_snapshot_is_taken_and_deleted_as_a_whole() {
    let driver = Driver::start().await;
    let mut group = driver.controller.group.clone();
    let mut ids = Vec::new();
    for name in ["v", "w"] {
        let volume = driver.make(create(name, &PARAMETERS)).await.unwrap();
        write(&driver.share().join(name).join("file"), name);
        ids.push(volume.volume_id);
    }
    let request = |name: &str, ids: &[String]| proto::CreateVolumeGroupSnapshotRequest {
        name: name.to_owned(),
        source_volume_ids: ids.to_vec(),
        ..Default::default()
    };
    let answer = group.create_volume_group_snapshot(request("g", &ids)).await.unwrap().into_inner();
    let taken = answer.group_snapshot.unwrap();
    let again = group.create_volume_group_snapshot(request("g", &ids)).await.unwrap().into_inner();
    assert_eq!(again.group_snapshot.as_ref(), Some(&taken));
    assert!(taken.ready_to_use && taken.group_snapshot_id == "nas:/srv#g");
    for (member, source) in taken.snapshots.iter().zip(&ids) {
        assert_eq!((&member.group_snapshot_id, &member.source_volume_id), (&taken.group_snapshot_id, source));
    }
    driver.make(from("r", of_snapshot(&taken.snapshots[1].snapshot_id))).await.unwrap();
    assert_eq!(read(&driver.share().join("r/file")), "w");

    let alone = driver.drop_snapshot(&taken.snapshots[0].snapshot_id).await.unwrap_err();
    assert_eq!(alone.code(), Code::InvalidArgument, "{}", alone.message());
    for (name, ids, code) in [
        ("g", &ids[..1], Code::AlreadyExists),
        ("h", &[ids[0].clone(), ids[0].clone()][..], Code::InvalidArgument),
        ("h", &[][..], Code::InvalidArgument),
        ("", &ids[..], Code::InvalidArgument),
        ("h", &[ids[0].clone(), "nas:/srv#none".to_owned()][..], Code::NotFound),
    ] {
        let status = group.create_volume_group_snapshot(request(name, ids)).await.unwrap_err();
        assert_eq!(status.code(), code, "{}", status.message());
    }
    let get = |id: &str| proto::GetVolumeGroupSnapshotRequest {
        group_snapshot_id: id.to_owned(),
        ..Default::default()
    };
    let found = group.get_volume_group_snapshot(get("nas:/srv#g")).await.unwrap().into_inner();
    assert_eq!(found.group_snapshot, Some(taken.clone()));
    for _ in 0..2 {
        let request = proto::DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: taken.group_snapshot_id.clone(),
            ..Default::default()
        };
        group.delete_volume_group_snapshot(request).await.unwrap();
    }
    assert_eq!(group.get_volume_group_snapshot(get("nas:/srv#g")).await.unwrap_err().code(), Code::NotFound);
    driver.drop_snapshot(&taken.snapshots[0].snapshot_id).await.unwrap();
    assert_eq!(driver.drafts(), 0);
}
