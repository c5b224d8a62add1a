//! Snapshots, and volumes that are restored or cloned, on a real export.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto::{self, Volume};
use proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
use tonic::{Code, Request, Status};

use crate::fixture::{Driver, assert_refused, new_volume, server, until};

/// Number of files in a tree whose copying takes seconds in the guest.
const MANY: usize = 4000;

impl Driver {
    pub(crate) async fn snapshot(&self, name: &str, source: &str) -> Result<proto::Snapshot, Status> {
        self.snapshot_within(name, source, Duration::from_mins(1)).await
    }

    /// The deadline of a sidecar that gives up after a while.
    async fn snapshot_within(
        &self,
        name: &str,
        source: &str,
        timeout: Duration,
    ) -> Result<proto::Snapshot, Status> {
        let mut request = Request::new(proto::CreateSnapshotRequest {
            name: name.to_owned(),
            source_volume_id: source.to_owned(),
            ..Default::default()
        });
        request.set_timeout(timeout);
        let answer = self.controller_client().create_snapshot(request).await?;
        Ok(answer.into_inner().snapshot.unwrap())
    }

    pub(crate) async fn delete_snapshot(&self, id: &str) -> Result<(), Status> {
        let request = proto::DeleteSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() };
        self.controller_client().delete_snapshot(request).await.map(drop)
    }

    pub(crate) async fn snapshots(&self) -> Vec<proto::Snapshot> {
        let answer = self.controller_client().list_snapshots(proto::ListSnapshotsRequest::default()).await;
        answer.unwrap().into_inner().entries.into_iter().map(|entry| entry.snapshot.unwrap()).collect()
    }
}

pub(crate) fn restored(name: &str, id: &str, parameters: &[(&str, &str)]) -> proto::CreateVolumeRequest {
    filled(name, Type::Snapshot(SnapshotSource { snapshot_id: id.to_owned() }), parameters)
}

pub(crate) fn cloned(name: &str, id: &str, parameters: &[(&str, &str)]) -> proto::CreateVolumeRequest {
    filled(name, Type::Volume(VolumeSource { volume_id: id.to_owned() }), parameters)
}

fn filled(name: &str, kind: Type, parameters: &[(&str, &str)]) -> proto::CreateVolumeRequest {
    proto::CreateVolumeRequest {
        volume_content_source: Some(proto::VolumeContentSource { r#type: Some(kind) }),
        capacity_range: None,
        ..new_volume(name, parameters)
    }
}

fn many_files(volume: &Volume) {
    let dir = server::directory(volume);
    for number in 0..MANY {
        fs::write(dir.join(number.to_string()), number.to_string()).unwrap();
    }
}

/// Number of unfinished copies on the server.
fn drafts(share: &str) -> usize {
    // A draft is called `<key>.<unique>`. A directory that is deleted has more parts.
    let is_draft = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().split('.').count() == 2;
    server::unfinished(share).iter().filter(is_draft).count()
}

fn free_bytes(dir: &Path) -> u64 {
    let text = server::run(std::process::Command::new("stat").args(["-f", "-c", "%a %S"]).arg(dir));
    text.split_whitespace().map(|number| number.parse::<u64>().unwrap()).product()
}

#[tokio::test]
async fn a_snapshot_outlives_its_volume_and_is_restored_on_every_version() {
    for flags in ["nfsvers=4.2", "nfsvers=4.1", "nfsvers=3"] {
        let driver = Driver::start().await;
        let mut request = new_volume("v", &[]);
        let mount = request.volume_capabilities[0].access_type.as_mut().unwrap();
        let proto::volume_capability::AccessType::Mount(mount) = mount else { unreachable!() };
        mount.mount_flags = vec![flags.to_owned(), "nolock".to_owned()];
        let volume = driver.try_create(request).await.unwrap();
        let dir = server::directory(&volume);
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/file"), "before").unwrap();
        fs::hard_link(dir.join("sub/file"), dir.join("other")).unwrap();

        let taken = driver.snapshot("s", &volume.volume_id).await.unwrap();
        fs::write(dir.join("sub/file"), "after").unwrap();
        // Right after the first restore: the second must not use what the client has cached of the directories.
        fs::write(dir.join("sub/late"), "late").unwrap();
        let second = driver.snapshot("t", &volume.volume_id).await.unwrap();
        driver.delete(&volume).await.unwrap();

        let first = driver.try_create(restored("r", &taken.snapshot_id, &[])).await.unwrap();
        let first = server::directory(&first);
        assert_eq!(fs::read_to_string(first.join("sub/file")).unwrap(), "before", "{flags}");
        assert_eq!(fs::read_to_string(first.join("other")).unwrap(), "before");
        assert!(!first.join("sub/late").exists());
        let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&first.join(name).metadata().unwrap());
        assert_eq!(inode("other"), inode("sub/file"));
        let second = driver.try_create(restored("r2", &second.snapshot_id, &[])).await.unwrap();
        let second = server::directory(&second);
        assert_eq!(fs::read_to_string(second.join("other")).unwrap(), "after", "{flags}");
        assert_eq!(fs::read_to_string(second.join("sub/late")).unwrap(), "late");
        assert_eq!(drafts("/share"), 0);
    }
}

#[tokio::test]
async fn a_clone_on_another_export_is_identical() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    fs::write(server::directory(&volume).join("file"), vec![7; 100_000]).unwrap();
    let clone = driver.try_create(cloned("c", &volume.volume_id, &[("share", "/small")])).await;
    // The source has a larger capacity than all of /small.
    assert_refused(clone, Code::OutOfRange, "1073741824 bytes are asked for");
    let taken = driver.snapshot("s", &volume.volume_id).await.unwrap();
    let request = proto::CreateVolumeRequest {
        capacity_range: Some(proto::CapacityRange { required_bytes: 1 << 20, limit_bytes: 0 }),
        ..restored("c", &taken.snapshot_id, &[("share", "/small")])
    };
    let clone = driver.try_create(request).await.unwrap();
    assert_eq!(fs::read(server::directory(&clone).join("file")).unwrap(), vec![7; 100_000]);
    driver.delete(&clone).await.unwrap();
    until("all deleted directories are removed", || server::unfinished("/small").is_empty()).await;
}

#[tokio::test]
async fn a_copy_that_fills_the_file_system_fails_and_frees_its_space() {
    let driver = Driver::start().await;
    let request =
        proto::CreateVolumeRequest { capacity_range: None, ..new_volume("v", &[("share", "/small")]) };
    let volume = driver.try_create(request).await.unwrap();
    let dir = server::directory(&volume);
    for number in 0..20 {
        fs::write(dir.join(number.to_string()), vec![1; 2 << 20]).unwrap();
    }
    let free = free_bytes(&dir);
    assert!(free < 30 << 20, "{free}");
    let refused = driver.snapshot("s", &volume.volume_id).await;
    assert_refused(refused, Code::ResourceExhausted, "No space left on device");
    assert_eq!(driver.snapshots().await, []);
    let clone = driver.try_create(cloned("c", &volume.volume_id, &[("share", "/small")])).await;
    assert_refused(clone, Code::ResourceExhausted, "No space left on device");
    assert!(!server::exported("/small/c").exists() && drafts("/small") == 0);
    assert!(!server::exported("/small/.nfs-subdir-csi/volumes/c.json").exists());
    until("the space is free again", || free_bytes(&dir) + (1 << 20) > free).await;
    // The same call succeeds once there is room.
    for number in 5..20 {
        fs::remove_file(dir.join(number.to_string())).unwrap();
    }
    driver.snapshot("s", &volume.volume_id).await.unwrap();
    let clone = driver.try_create(cloned("c", &volume.volume_id, &[("share", "/small")])).await.unwrap();
    for volume in [&volume, &clone] {
        driver.delete(volume).await.unwrap();
    }
    driver.delete_snapshot(&format!("{}:/small#s", server::NAME)).await.unwrap();
    until("all deleted directories are removed", || server::unfinished("/small").is_empty()).await;
}

/// Repeats a call, as the sidecars do, until its copy is whole. On a busy machine that takes longer than one call may take.
async fn whole<T>(call: impl AsyncFn() -> Result<T, Status>) -> T {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        match call().await {
            Err(status) if Instant::now() < deadline && is_unfinished(&status) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return answer.unwrap(),
        }
    }
}

/// Repeats a call that has little time until the answer is how far its copy is. On a busy machine the time can be over before the copy begins.
async fn progress<T: std::fmt::Debug>(call: impl AsyncFn() -> Result<T, Status>) -> String {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let status = call().await.unwrap_err();
        if status.code() == Code::Aborted && status.message().contains("copying for") {
            return status.message().to_owned();
        }
        assert!(Instant::now() < deadline && is_unfinished(&status), "{status}");
    }
}

/// Whether the caller should ask again. CANCELLED is what a client makes of its own deadline.
fn is_unfinished(status: &Status) -> bool {
    [Code::Aborted, Code::DeadlineExceeded, Code::Cancelled].contains(&status.code())
}

#[tokio::test]
async fn a_long_copy_reports_progress_is_joined_by_retries_and_protects_its_source() {
    const SHORT: Duration = Duration::from_millis(600);
    const LONG: Duration = Duration::from_secs(10);
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    many_files(&volume);
    let message = progress(async || driver.snapshot_within("s", &volume.volume_id, SHORT).await).await;
    for figure in [" files, ", " bytes, ", " MiB/s", "ask again"] {
        assert!(message.contains(figure), "no {figure:?} in: {message}");
    }
    assert_eq!(driver.snapshots().await, [], "an incomplete snapshot is not listed");
    assert_refused(driver.delete(&volume).await, Code::Aborted, "is being made from it");
    assert!(server::directory(&volume).exists());
    let second = whole(async || driver.snapshot_within("s", &volume.volume_id, LONG).await).await;
    let record = server::exported("/share/.nfs-subdir-csi/snapshots/s");
    assert_eq!(record.join("0").read_dir().unwrap().count(), MANY);
    assert_eq!(driver.snapshots().await, std::slice::from_ref(&second));
    assert_eq!(drafts("/share"), 0, "the retry joined the copy");

    let clone = async |timeout| {
        let mut request = Request::new(restored("c", &second.snapshot_id, &[]));
        request.set_timeout(timeout);
        driver.controller_client().create_volume(request).await
    };
    progress(async || clone(SHORT).await).await;
    assert_refused(driver.delete_snapshot(&second.snapshot_id).await, Code::Aborted, "is being made from it");
    let filled = whole(async || clone(LONG).await).await.into_inner().volume.unwrap();
    assert_eq!(server::directory(&filled).read_dir().unwrap().count(), MANY);
}

#[tokio::test]
async fn deleting_a_volume_or_snapshot_that_is_being_copied_ends_the_copy() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    many_files(&volume);
    let short = Duration::from_millis(520);
    assert_refused(driver.snapshot_within("s", &volume.volume_id, short).await, Code::Aborted, "ask again");
    driver.delete_snapshot(&format!("{}:/share#s", server::NAME)).await.unwrap();
    assert_eq!((driver.snapshots().await.len(), drafts("/share")), (0, 0));

    let mut request = Request::new(cloned("c", &volume.volume_id, &[]));
    request.set_timeout(short);
    assert_refused(driver.controller_client().create_volume(request).await, Code::Aborted, "ask again");
    let handle = format!("{}:/share#c", server::NAME);
    driver.delete(&Volume { volume_id: handle, ..Default::default() }).await.unwrap();
    assert!(!server::exported("/share/c").exists());
    assert!(!server::exported("/share/.nfs-subdir-csi/volumes/c.json").exists());
    assert_eq!(drafts("/share"), 0);
}

#[tokio::test]
async fn a_source_that_is_moved_away_during_the_copy_makes_no_snapshot() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    many_files(&volume);
    let dir = server::directory(&volume);
    let away = dir.with_file_name("elsewhere");
    let id = format!("{}:/share#s", server::NAME);
    let short = Duration::from_millis(600);
    // If the copy ends before the directory is moved, it is complete.
    for _ in 0..10 {
        assert_refused(
            driver.snapshot_within("s", &volume.volume_id, short).await,
            Code::Aborted,
            "ask again",
        );
        fs::rename(&dir, &away).unwrap();
        let answer = driver.snapshot("s", &volume.volume_id).await;
        fs::rename(&away, &dir).unwrap();
        let Ok(whole) = answer else {
            assert_eq!((driver.snapshots().await.len(), drafts("/share")), (0, 0));
            driver.snapshot("s", &volume.volume_id).await.unwrap();
            return;
        };
        let tree = server::exported("/share/.nfs-subdir-csi/snapshots/s/0");
        assert_eq!((whole.snapshot_id.as_str(), tree.read_dir().unwrap().count()), (id.as_str(), MANY));
        driver.delete_snapshot(&id).await.unwrap();
    }
    panic!("every copy ended before the directory was moved");
}

#[tokio::test]
async fn a_group_over_two_exports_is_refused() {
    let driver = Driver::start().await;
    let mut sources = Vec::new();
    for share in ["/share", "/small"] {
        let request =
            proto::CreateVolumeRequest { capacity_range: None, ..new_volume("v", &[("share", share)]) };
        sources.push(driver.try_create(request).await.unwrap());
    }
    let request = proto::CreateVolumeGroupSnapshotRequest {
        name: "g".to_owned(),
        source_volume_ids: sources.iter().map(|volume| volume.volume_id.clone()).collect(),
        ..Default::default()
    };
    let answer = driver.group_client().create_volume_group_snapshot(request).await;
    assert_refused(answer, Code::FailedPrecondition, "two exports");
    for volume in &sources {
        driver.delete(volume).await.unwrap();
    }
}
