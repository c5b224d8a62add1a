//! Exports that expect limits: what the driver answers, with the agent and without it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::Volume;
use nfs_subdir_csi::csi::proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
use nfs_subdir_csi::volume::share::quota::State;
use tonic::{Code, Status};

use super::server::{
    Agent, MIB, message_of_limit, project_of, quota, record, report, size_in_pod, write_in_pod,
};
use crate::configuration::edits::{WITH_CONFIG, configure};
use crate::fixture::{Driver, Setup, answer, assert_refused, server, until};
use crate::support;

/// Starts the driver with an export that expects limits.
pub(crate) async fn expecting(policy: &str, share: &str, versions: &'static [&'static str]) -> Driver {
    configure(&format!(
        "exports: [{{name: x, server: 127.0.0.1, share: {share}, quota: {policy}}}]\ndefaultExport: x\n"
    ));
    Driver::start_with(Setup { versions, ..WITH_CONFIG }).await
}

fn bytes(mebibytes: u64) -> proto::CapacityRange {
    proto::CapacityRange { required_bytes: i64::try_from(mebibytes * MIB).unwrap(), limit_bytes: 0 }
}

pub(crate) fn sized(name: &str, mebibytes: u64) -> proto::CreateVolumeRequest {
    proto::CreateVolumeRequest {
        capacity_range: Some(bytes(mebibytes)),
        ..support::create(name, &[("mountPermissions", "0777")])
    }
}

async fn expand(driver: &Driver, volume: &Volume, mebibytes: u64) -> Result<i64, Status> {
    let request = proto::ControllerExpandVolumeRequest {
        volume_id: volume.volume_id.clone(),
        capacity_range: Some(bytes(mebibytes)),
        ..Default::default()
    };
    let answered = answer(driver.controller_client().controller_expand_volume(request)).await;
    answered.map(|answer| answer.capacity_bytes)
}

async fn health(driver: &Driver, volume: &Volume) -> Vec<(String, String)> {
    let request =
        proto::ControllerGetVolumeHealthRequest { volume_id: volume.volume_id.clone(), ..Default::default() };
    let answered = answer(driver.controller_client().controller_get_volume_health(request)).await.unwrap();
    let entries = answered.volume_health.unwrap().health_statuses;
    entries.into_iter().map(|entry| (entry.reason, entry.message)).collect()
}

/// Creates a volume while the agent starts, which can take longer than a call waits. So this asks again, as the csi-provisioner does.
pub(crate) async fn create(driver: &Driver, request: proto::CreateVolumeRequest) -> Volume {
    let begun = Instant::now();
    loop {
        match driver.try_create(request.clone()).await {
            Err(status) if status.code() == Code::Aborted && begun.elapsed() < Duration::from_mins(1) => {}
            created => return created.unwrap(),
        }
    }
}

/// The size of a directory on the server, as the file system shows it there.
fn shown(path: &Path) -> u64 {
    size_in_pod(path)
}

#[tokio::test]
async fn where_limits_are_required_a_volume_is_ready_when_its_limit_is_in_force() {
    for (number, (share, versions)) in super::agent::PLACES.into_iter().enumerate() {
        let driver = expecting("required", share, versions).await;
        // A refusal depends neither on the file system nor on the version.
        if number == 0 {
            let without = driver.try_create(sized("v", 32)).await;
            assert_refused(without, Code::Aborted, "no quota agent has worked on 127.0.0.1:");
            assert!(record(share, "v").exists(), "the record stays, and the retry waits for the same");
        }
        let mut agent = Agent::start(share, &[]);
        let volume = create(&driver, sized("v", 32)).await;
        // In force before the answer, without any waiting here.
        assert_eq!(shown(&server::exported(share).join("v")), 32 * MIB);
        for number in 0..3 {
            let name = format!("more-{number}");
            driver.try_create(sized(&name, 5 + number)).await.unwrap();
            assert_eq!(shown(&server::exported(share).join(&name)), (5 + number) * MIB);
        }
        assert_eq!(expand(&driver, &volume, 40).await.unwrap(), i64::try_from(40 * MIB).unwrap());
        assert_eq!(shown(&server::exported(share).join("v")), 40 * MIB);
        assert_eq!(health(&driver, &volume).await, []);

        if number > 0 {
            continue;
        }
        agent.kill();
        assert_refused(expand(&driver, &volume, 48).await, Code::Aborted, "is not limited to 50331648 bytes");
        let sick = health(&driver, &volume).await;
        assert_eq!(sick[0].0, "QuotaNotInForce", "{sick:?}");
        let _agent = Agent::start(share, &[]);
        until("the agent has raised the limit", || shown(&server::exported(share).join("v")) == 48 * MIB)
            .await;
        assert_eq!(expand(&driver, &volume, 48).await.unwrap(), i64::try_from(48 * MIB).unwrap());
        assert_eq!(shown(&server::exported(share).join("v")), 48 * MIB);
    }
}

#[tokio::test]
async fn an_agent_that_is_silent_is_named_with_the_time_of_its_last_sign() {
    let driver = expecting("required", "/share", &[]).await;
    let mut agent = Agent::start("/share", &[]);
    create(&driver, sized("v", 32)).await;
    agent.kill();
    let agent_file = server::exported("/share").join(".nfs-subdir-csi/quota/agent.json");
    let hour_ago = std::time::SystemTime::now() - Duration::from_hours(1);
    fs::File::options().append(true).open(agent_file).unwrap().set_modified(hour_ago).unwrap();
    let refused = driver.try_create(sized("w", 32)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert!(refused.message().contains("gave its last sign of life 36"), "{}", refused.message());
}

#[tokio::test]
async fn where_limits_are_preferred_a_volume_is_used_without_and_its_health_says_so() {
    let share = "/limited";
    let driver = expecting("preferred", share, &[]).await;
    let volume = driver.try_create(sized("v", 32)).await.unwrap();
    let sick = health(&driver, &volume).await;
    assert_eq!(sick[0].0, "QuotaNotInForce");
    assert!(sick[0].1.contains("start `nfs-subdir-csi quota` on the NFS server"), "{sick:?}");
    let target = driver.publish(&volume, "a", &[]).await;
    let of_node = async || {
        let request = proto::NodeGetVolumeHealthRequest {
            volume_id: volume.volume_id.clone(),
            volume_publish_path: target.to_str().unwrap().to_owned(),
            ..Default::default()
        };
        let mut node = driver.node.client().await.node;
        let found = answer(node.node_get_volume_health(request)).await.unwrap().volume_health.unwrap();
        found.health_statuses.into_iter().map(|entry| entry.reason).collect::<Vec<_>>()
    };
    assert_eq!(of_node().await, ["QuotaNotInForce"]);
    let _agent = Agent::start(share, &[]);
    until("the limit is in force", || size_in_pod(&target) == 32 * MIB).await;
    assert_eq!(health(&driver, &volume).await, []);
    assert!(of_node().await.is_empty());
    write_in_pod(&target.join("file"), 31).unwrap();
    let sick = health(&driver, &volume).await;
    assert_eq!(sick[0].0, "NearlyFull", "{sick:?}");
    assert!(sick[0].1.contains("bytes left"), "{sick:?}");
    assert_eq!(of_node().await, ["NearlyFull"]);
    fs::remove_file(target.join("file")).unwrap();
}

#[tokio::test]
async fn clones_and_restored_volumes_are_limited_before_they_are_filled_and_snapshots_belong_to_no_volume() {
    for (share, versions) in super::agent::PLACES {
        let driver = expecting("required", share, versions).await;
        let _agent = Agent::start(share, &["--interval", "1"]);
        let source = create(&driver, sized("source", 16)).await;
        let target = driver.publish(&source, "a", &[]).await;
        write_in_pod(&target.join("file"), 10).unwrap();
        let used = || quota(share, report(share, "source").unwrap().project).used_bytes;
        let before = used();
        let request = proto::CreateSnapshotRequest {
            source_volume_id: source.volume_id.clone(),
            name: "snap".to_owned(),
            ..Default::default()
        };
        let snapshot =
            answer(driver.controller_client().create_snapshot(request)).await.unwrap().snapshot.unwrap();
        let tree = server::exported(share).join(".nfs-subdir-csi/snapshots/snap/0");
        assert_eq!((project_of(&tree), project_of(&tree.join("file"))), (0, 0));
        // It can only become less: XFS gives back what it has allocated beyond the end of a file.
        assert!(used() <= before, "the volume does not pay for its snapshot: {before}, then {}", used());

        let clone = proto::CreateVolumeRequest {
            volume_content_source: Some(from(Type::Volume(VolumeSource {
                volume_id: source.volume_id.clone(),
            }))),
            ..sized("clone", 16)
        };
        let restored = proto::CreateVolumeRequest {
            volume_content_source: Some(from(Type::Snapshot(SnapshotSource {
                snapshot_id: snapshot.snapshot_id,
            }))),
            ..sized("restored", 24)
        };
        for (name, request, size) in [("clone", clone, 16), ("restored", restored, 24)] {
            driver.try_create(request).await.unwrap();
            let path = server::exported(share).join(name);
            assert_eq!(shown(&path), size * MIB, "in force when the call is answered");
            assert_eq!(path.join("file").metadata().unwrap().len(), 10 * MIB);
            until("it is reported", || report(share, name).is_some_and(|told| told.state == State::Enforced))
                .await;
            let told = report(share, name).unwrap();
            assert_eq!(project_of(&path.join("file")), told.project, "{share} {versions:?} {name}");
            assert!(quota(share, told.project).used_bytes >= 10 * MIB);
        }
        // A copy made of reflinks counts in full.
        let clone = server::exported(share).join("clone");
        let refused = write_in_pod(&clone.join("more"), 10).unwrap_err();
        assert!(refused.contains(message_of_limit(share)), "{refused}");
        driver.unpublish(&source, &target).await.unwrap();
    }
}

fn from(kind: Type) -> proto::VolumeContentSource {
    proto::VolumeContentSource { r#type: Some(kind) }
}
