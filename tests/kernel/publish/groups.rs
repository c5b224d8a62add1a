//! The group of a pod (fsGroup).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto::volume_capability::AccessType;
use nfs_subdir_csi::csi::proto::{NodePublishVolumeRequest, Volume};
use tonic::{Code, Request, Status};

use crate::fixture::{Driver, Setup, assert_refused, binary, by_hand, say, server, text, until};
use crate::support::{Service, publish, unpublish};

const CONFIG: &str = "/run/test-groups.yaml";

pub(crate) fn for_group(volume: &Volume, target: &Path, group: &str) -> NodePublishVolumeRequest {
    let mut request = publish(volume, target, &[]);
    let capability = request.volume_capability.as_mut().unwrap();
    let Some(AccessType::Mount(mount)) = &mut capability.access_type else { unreachable!() };
    group.clone_into(&mut mount.volume_mount_group);
    request
}

/// Runs a shell command as the user 1000 in a pod with this fsGroup. Files that it creates are for the user alone.
fn in_pod(group: &str, target: &Path, command: &str) -> bool {
    let as_pod = ["--reuid", "1000", "--regid", "1000", "--groups", group];
    let command = format!("umask 077; {command}");
    let status =
        Command::new("setpriv").args(as_pod).args(["bash", "-c", &command]).current_dir(target).status();
    status.unwrap().success()
}

fn look(path: &Path) -> (u32, u32) {
    let metadata = path.symlink_metadata().unwrap();
    (metadata.gid(), metadata.mode() & 0o7777)
}

#[tokio::test]
async fn the_group_of_a_pod_owns_the_volume_and_new_files() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let top = server::exported("/share/v");
    fs::create_dir(top.join("deep")).unwrap();
    fs::write(top.join("deep/file"), "").unwrap();
    fs::set_permissions(top.join("deep/file"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("/etc/passwd", top.join("deep/link")).unwrap();
    let outside = look(Path::new("/etc/passwd"));
    let target = driver.target("a");
    driver.try_publish(for_group(&volume, &target, "4321")).await.unwrap();
    assert_eq!((top.metadata().unwrap().uid(), look(&top)), (0, (4321, 0o2770)));
    assert_eq!((look(&top.join("deep")), look(&top.join("deep/file"))), ((4321, 0o2775), (4321, 0o660)));
    assert_eq!((look(&top.join("deep/link")).0, look(Path::new("/etc/passwd"))), (4321, outside));

    assert!(in_pod("4321", &target, "touch file"));
    let made = top.join("file").metadata().unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 4321));

    // Where the top has the group, nothing is changed: neither a mode that somebody has set, nor anything deeper.
    for mode in [0o2775, 0o770] {
        fs::set_permissions(&top, fs::Permissions::from_mode(mode)).unwrap();
        chown(top.join("deep/file"), None, Some(7)).unwrap();
        driver.unpublish(&volume, &target).await.unwrap();
        driver.try_publish(for_group(&volume, &target, "4321")).await.unwrap();
        assert_eq!((look(&top), look(&top.join("deep/file")).0), ((4321, mode), 7));
    }
}

#[tokio::test]
async fn a_pod_with_another_group_can_use_what_the_pod_before_has_written() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.target("a");
    for group in ["4321", "8765"] {
        driver.try_publish(for_group(&volume, &target, group)).await.unwrap();
        assert!(in_pod(group, &target, "mkdir -p sub/sub && echo one >>sub/sub/file && cat sub/sub/file"));
        // Another user of the same group, and after the change of the group one of the other group.
        let file = server::exported("/share/v/sub/sub/file");
        chown(&file, Some(2000), None).unwrap();
        driver.unpublish(&volume, &target).await.unwrap();
    }
    assert_eq!(fs::read_to_string(server::exported("/share/v/sub/sub/file")).unwrap(), "one\none\n");
    driver.try_publish(for_group(&volume, &target, "8765")).await.unwrap();
    assert!(!in_pod("4321", &target, "cat sub/sub/file"), "the group before has no access any more");
}

#[tokio::test]
async fn a_volume_that_the_server_gives_to_no_group_is_published_and_the_log_says_it_once() {
    let mut driver = Driver::start().await;
    fs::create_dir(server::exported("/squashed/v")).unwrap();
    let (log, state, kubelet) =
        (driver.dir().join("log"), driver.dir().join("node"), driver.dir().join("kubelet"));
    driver.node.kill();
    let metrics = crate::scrape::free_port();
    let port = metrics.to_string();
    let args = ["--state-dir", text(&state), "--kubelet-dir", text(&kubelet), "--node-id", "node-1"];
    let args = [&args[..], &["--metrics-address", &port]].concat();
    driver.node = Service::start_logged(Path::new(binary()), "node", driver.dir(), &args, &log);
    let volume = by_hand(server::NAME, "/squashed", "v");
    let target = driver.target("a");
    let mut node = driver.node.client().await.node;
    for _ in 0..3 {
        node.node_publish_volume(for_group(&volume, &target, "4321")).await.unwrap();
    }
    assert!(target.join(".").exists());
    let log = fs::read_to_string(&log).unwrap();
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("could not be given to the group")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("4321") && told[0].contains("/squashed/v"), "{}", told[0]);
    let refused = crate::scrape::scrape(metrics).unwrap().value("nfs_subdir_csi_fs_group_refused_total");
    assert_eq!(refused, Some(1.0));
    node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap();
}

#[tokio::test]
async fn a_volume_that_the_server_gives_to_no_group_is_refused_where_the_configuration_requires_it() {
    fs::write(CONFIG, "fsGroup: require\n").unwrap();
    let driver = Driver::start_with(Setup { args: &["--config", CONFIG], versions: &[] }).await;
    fs::create_dir(server::exported("/squashed/v")).unwrap();
    let volume = by_hand(server::NAME, "/squashed", "v");
    let target = driver.target("a");
    let answer = driver.try_publish(for_group(&volume, &target, "4321")).await;
    assert_refused(answer, Code::FailedPrecondition, "no_root_squash");
    assert!(!target.exists());
}

/// How many files the tree below has. `NFS_SUBDIR_CSI_FILES` sets another number.
const FILES: u32 = 5_000;

#[tokio::test]
async fn a_long_change_is_joined_by_retries_and_begins_again_after_sigkill() {
    let files = std::env::var("NFS_SUBDIR_CSI_FILES").map_or(FILES, |text| text.parse().unwrap());
    let mut driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let top = server::exported("/share/v");
    for number in 0..files {
        let dir = top.join(format!("dir-{}", number % 100));
        if number < 100 {
            fs::create_dir(&dir).unwrap();
        }
        fs::write(dir.join(number.to_string()), "").unwrap();
    }
    let target = driver.target("a");
    let changed = || {
        let dirs = top.read_dir().unwrap().map(|dir| dir.unwrap().path());
        let entries =
            dirs.flat_map(|dir| dir.read_dir().unwrap()).map(|file| file.unwrap().metadata().unwrap());
        u32::try_from(entries.filter(|file| file.gid() == 4321).count()).unwrap()
    };
    let request = for_group(&volume, &target, "4321");
    let mut client = driver.node.client().await.node;
    let call = tokio::spawn(async move { client.node_publish_volume(request).await });
    let mut dirs = top.read_dir().unwrap().map(|dir| dir.unwrap().path());
    let first: Vec<PathBuf> = dirs.by_ref().take(100).collect();
    until("the change has begun", || first.iter().any(|dir| look(dir).0 == 4321)).await;
    driver.node.kill();
    assert!(call.await.unwrap().is_err());
    assert!(changed() < files && look(&top).0 != 4321, "the top is the last");
    driver.start_node_again().await;

    let begun = Instant::now();
    let mut told = Vec::new();
    loop {
        let mut request = Request::new(for_group(&volume, &target, "4321"));
        request.set_timeout(Duration::from_secs(2));
        match driver.node.client().await.node.node_publish_volume(request).await {
            Ok(_) => break,
            Err(status) => told.push(status),
        }
        assert!(!target.exists(), "no pod starts before the volume has its group");
    }
    // The client of this test may give up before it reads an answer, because it shares a processor with all of this.
    told.retain(|status| status.code() != Code::Cancelled);
    assert!(told.iter().all(|status| status.code() == Code::Aborted), "{told:?}");
    let progress = |status: &Status| status.message().contains("entries; ask again");
    assert!(told.iter().any(progress), "{told:?}");
    assert_eq!((changed(), look(&top)), (files, (4321, 0o2770)));
    say(&format!(
        "{files} files in 100 directories have another group after {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
    let again = Instant::now();
    driver.unpublish(&volume, &target).await.unwrap();
    driver.try_publish(for_group(&volume, &target, "4321")).await.unwrap();
    say(&format!("the next publish and unpublish took {} ms", again.elapsed().as_millis()));
}
