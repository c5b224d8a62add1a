//! What the calls of one cell need: volumes, snapshots and groups on the export, and published volumes. All of it is removed at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nfs_subdir_csi::csi::proto::{self, Volume};
use tokio::task::JoinSet;
use tonic::{Response, Status};

use crate::support;
use crate::world::{Clients, KUBELET};

/// The time limit for steps that are repeated until they succeed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// The parameters of a StorageClass for the export that fails.
pub(crate) const CLASS: [(&str, &str); 1] = [("export", "faulty")];

/// Volumes that exist before the fault, one for each call that needs one.
const VOLUMES: [&str; 18] = [
    "delete",
    "validate",
    "get",
    "expand",
    "modify",
    "snap",
    "clone",
    "snapped",
    "snapped-delete",
    "snapped-restore",
    "grouped",
    "grouped-delete",
    "group",
    "publish",
    "again",
    "unpublish",
    "revoke",
    "stats",
];
/// Those of them that are published before the fault.
const PUBLISHED: [&str; 3] = ["again", "unpublish", "stats"];
/// Snapshots that exist before the fault, and their volumes.
const SNAPSHOTS: [(&str, &str); 3] =
    [("s-get", "snapped"), ("s-delete", "snapped-delete"), ("s-restore", "snapped-restore")];
/// Groups of snapshots that exist before the fault, and their volumes.
const GROUPS: [(&str, &str); 2] = [("g-get", "grouped"), ("g-delete", "grouped-delete")];
/// What the calls of a cell may create.
const MADE: [&str; 4] = ["new", "restored", "cloned", "late"];
const MADE_SNAPSHOTS: [&str; 2] = ["s-new", "s-late"];

/// Everything that belongs to one cell. All names begin with a prefix that no other cell has.
pub(crate) struct Round {
    pub(crate) prefix: String,
    pub(crate) clients: Clients,
    pub(crate) volumes: BTreeMap<&'static str, Volume>,
    pub(crate) groups: BTreeMap<String, Vec<String>>,
}

impl Round {
    /// Creates and publishes everything.
    pub(crate) async fn prepare(clients: Clients, prefix: String) -> Result<Self> {
        let mut round = Self { prefix, clients, volumes: BTreeMap::new(), groups: BTreeMap::new() };
        std::fs::create_dir_all(round.target("none").parent().context("no parent")?)?;
        let mut making = JoinSet::new();
        for short in VOLUMES {
            let (mut controller, name) = (round.clients.controller.controller.clone(), round.name(short));
            making.spawn(async move {
                let made = controller.create_volume(support::create(&name, &CLASS)).await?.into_inner();
                Ok::<_, Status>((short, made.volume.unwrap_or_default()))
            });
        }
        while let Some(made) = making.join_next().await {
            round.volumes.extend([made?.context("prepare a volume")?]);
        }
        for short in PUBLISHED {
            let request = support::publish(round.volume(short), &round.target(short), &[]);
            round
                .clients
                .node
                .node
                .clone()
                .node_publish_volume(request)
                .await
                .context("prepare a publish")?;
        }
        for (short, source) in SNAPSHOTS {
            let request = round.snapshot(short, source);
            until_ok(async || {
                round.clients.controller.controller.clone().create_snapshot(request.clone()).await
            })
            .await
            .context("prepare a snapshot")?;
        }
        for (short, source) in GROUPS {
            let request = round.group(short, source);
            let made = until_ok(async || {
                round.clients.controller.group.clone().create_volume_group_snapshot(request.clone()).await
            });
            let group = made.await.context("prepare a group")?.group_snapshot.unwrap_or_default();
            let members = group.snapshots.into_iter().map(|snapshot| snapshot.snapshot_id).collect();
            round.groups.insert(group.group_snapshot_id, members);
        }
        Ok(round)
    }

    pub(crate) fn name(&self, short: &str) -> String {
        format!("{}-{short}", self.prefix)
    }

    pub(crate) fn handle(&self, short: &str) -> String {
        format!("faulty#{}", self.name(short))
    }

    /// A volume that exists.
    pub(crate) fn volume(&self, short: &str) -> &Volume {
        &self.volumes[short]
    }

    pub(crate) fn target(&self, short: &str) -> PathBuf {
        Path::new(KUBELET).join("pods").join(&self.prefix).join(short)
    }

    pub(crate) fn snapshot(&self, short: &str, source: &str) -> proto::CreateSnapshotRequest {
        proto::CreateSnapshotRequest {
            name: self.name(short),
            source_volume_id: self.handle(source),
            ..Default::default()
        }
    }

    pub(crate) fn group(&self, short: &str, source: &str) -> proto::CreateVolumeGroupSnapshotRequest {
        proto::CreateVolumeGroupSnapshotRequest {
            name: self.name(short),
            source_volume_ids: vec![self.handle(source)],
            ..Default::default()
        }
    }

    /// The id of an existing group and those of its members.
    pub(crate) fn existing_group(&self, short: &str) -> (String, Vec<String>) {
        let name = self.name(short);
        let found = self.groups.iter().find(|(id, _)| id.contains(&name));
        found.map(|(id, members)| (id.clone(), members.clone())).unwrap_or_default()
    }

    /// Creates and deletes a volume on each export, and looks at the health of all exports. A service keeps the folder of deleted volumes open
    /// from the first deletion on, and the state directory from the first look on.
    pub(crate) async fn open_what_is_kept(&self) -> Result<()> {
        let controller = &self.clients.controller.controller;
        for export in ["faulty", "healthy"] {
            let request = support::create(&self.name("first"), &[("export", export)]);
            let made =
                controller.clone().create_volume(request).await.context("prepare a deletion")?.into_inner();
            let request = support::delete(&made.volume.unwrap_or_default());
            controller.clone().delete_volume(request).await.context("prepare a deletion")?;
        }
        let look = proto::NodeGetStorageHealthRequest::default();
        self.clients.node.node.clone().node_get_storage_health(look).await.context("prepare a look")?;
        Ok(())
    }

    /// Uses the export for everything once more, until all of it has succeeded. Returns how long that took.
    pub(crate) async fn recover(&self) -> Result<Duration> {
        let begun = Instant::now();
        let (controller, node) = (&self.clients.controller.controller, &self.clients.node.node);
        let request = support::create(&self.name("late"), &CLASS);
        let made = until_ok(async || controller.clone().create_volume(request.clone()).await);
        let volume = made.await.context("CreateVolume")?.volume.unwrap_or_default();
        let request = support::publish(&volume, &self.target("late"), &[]);
        until_ok(async || node.clone().node_publish_volume(request.clone()).await)
            .await
            .context("NodePublishVolume")?;
        let stats = proto::NodeGetVolumeStatsRequest {
            volume_id: volume.volume_id.clone(),
            volume_path: self.target("late").to_string_lossy().into_owned(),
            ..Default::default()
        };
        until_ok(async || node.clone().node_get_volume_stats(stats.clone()).await)
            .await
            .context("NodeGetVolumeStats")?;
        let request = self.snapshot("s-late", "late");
        until_ok(async || controller.clone().create_snapshot(request.clone()).await)
            .await
            .context("CreateSnapshot")?;
        until_ok(async || controller.clone().list_volumes(proto::ListVolumesRequest::default()).await)
            .await
            .context("ListVolumes")?;
        Ok(begun.elapsed())
    }

    /// Unpublishes and deletes everything, until all of it has succeeded.
    pub(crate) async fn clear(&self) -> Result<()> {
        let (controller, node) = (&self.clients.controller.controller, &self.clients.node.node);
        for short in VOLUMES.iter().chain(&MADE) {
            let request = proto::NodeUnpublishVolumeRequest {
                volume_id: self.handle(short),
                target_path: self.target(short).to_string_lossy().into_owned(),
            };
            until_ok(async || node.clone().node_unpublish_volume(request.clone()).await)
                .await
                .with_context(|| format!("NodeUnpublishVolume of {short}"))?;
        }
        let groups = self.groups.keys().cloned().chain(["g-new"].map(|short| self.handle(short)));
        for id in groups {
            let request =
                proto::DeleteVolumeGroupSnapshotRequest { group_snapshot_id: id, ..Default::default() };
            until_ok(async || {
                self.clients.controller.group.clone().delete_volume_group_snapshot(request.clone()).await
            })
            .await
            .context("DeleteVolumeGroupSnapshot")?;
        }
        for short in SNAPSHOTS.iter().map(|(short, _)| short).chain(&MADE_SNAPSHOTS) {
            let request =
                proto::DeleteSnapshotRequest { snapshot_id: self.handle(short), ..Default::default() };
            until_ok(async || controller.clone().delete_snapshot(request.clone()).await)
                .await
                .with_context(|| format!("DeleteSnapshot of {short}"))?;
        }
        for short in VOLUMES.iter().chain(&MADE) {
            let request = proto::DeleteVolumeRequest { volume_id: self.handle(short), ..Default::default() };
            until_ok(async || controller.clone().delete_volume(request.clone()).await)
                .await
                .with_context(|| format!("DeleteVolume of {short}"))?;
        }
        Ok(())
    }
}

/// Repeats a call until it succeeds. The error is the last answer.
pub(crate) async fn until_ok<T>(mut call: impl AsyncFnMut() -> Result<Response<T>, Status>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if begun.elapsed() > PATIENCE => {
                bail!("not within {PATIENCE:?}: {:?}: {}", status.code(), status.message())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
