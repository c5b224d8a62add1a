//! A worker makes one call after the other for its own volume. It repeats each call until the call succeeds, as kubelet and the sidecars do.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nfs_subdir_csi::csi::proto;
use proto::Volume;
use tonic::{Code, Response, Status};

use super::Stage;
use super::model::Random;
use crate::round::CLASS;
use crate::support;
use crate::world::{CALL_TIMEOUT, Clients, KUBELET};

/// How long a call may be repeated after the last fault has ended.
const PATIENCE: Duration = Duration::from_mins(2);
/// Answers that are wrong for a volume that exists, whatever the server does.
const NEVER: [Code; 5] =
    [Code::NotFound, Code::AlreadyExists, Code::InvalidArgument, Code::OutOfRange, Code::Unimplemented];

struct Worker {
    stage: Arc<Stage>,
    random: Random,
    number: u64,
    generation: u64,
}

/// Lives of volumes, one after the other, until the stage says stop.
pub(super) async fn work(stage: Arc<Stage>, number: u64, random: Random) -> Result<()> {
    let mut worker = Worker { stage, random, number, generation: 0 };
    while !worker.stage.stop.load(Ordering::Relaxed) {
        worker.generation += 1;
        worker.life().await?;
    }
    Ok(())
}

impl Worker {
    /// A volume from its creation to its deletion. Every third one stays.
    async fn life(&mut self) -> Result<()> {
        let name = format!("w{}-{}", self.number, self.generation);
        let request = support::create(&name, &CLASS);
        let made = self.until_ok("CreateVolume", &name, |clients| {
            let (mut client, request) = (clients.controller.controller, request.clone());
            async move { client.create_volume(request).await }
        });
        let volume = made.await?.volume.unwrap_or_default();
        self.stage.model.created(&name);
        let mut published: Option<PathBuf> = None;
        for _ in 0..self.random.below(8) {
            match self.random.below(4) {
                0 => published = self.publish_or_unpublish(&name, &volume, published).await?,
                1 => self.get(&name, &volume).await,
                2 => self.stats(&name, &volume, published.as_deref()).await,
                _ => self.snapshot(&name, &volume).await?,
            }
        }
        if published.is_some() {
            self.publish_or_unpublish(&name, &volume, published).await?;
        }
        if self.random.below(3) == 0 {
            return Ok(());
        }
        self.stage.model.deleting(&name);
        let request = support::delete(&volume);
        self.until_ok("DeleteVolume", &name, |clients| {
            let (mut client, request) = (clients.controller.controller, request.clone());
            async move { client.delete_volume(request).await }
        })
        .await
        .map(drop)
    }

    async fn publish_or_unpublish(
        &mut self,
        name: &str,
        volume: &Volume,
        published: Option<PathBuf>,
    ) -> Result<Option<PathBuf>> {
        let above = Path::new(KUBELET).join("pods").join(name);
        std::fs::create_dir_all(&above)?;
        let target = above.join("mount");
        // A pod that goes away before it has started.
        let gives_up = published.is_none() && self.random.below(3) == 0;
        if published.is_none() && !gives_up {
            let request = support::publish(volume, &target, &[]);
            self.until_ok("NodePublishVolume", name, |clients| {
                let (mut client, request) = (clients.node.node, request.clone());
                async move { client.node_publish_volume(request).await }
            })
            .await?;
            return Ok(Some(target));
        }
        if gives_up {
            let (mut client, request) = (self.clients().node.node, support::publish(volume, &target, &[]));
            tokio::spawn(async move { client.node_publish_volume(request).await });
            tokio::time::sleep(Duration::from_millis(self.random.below(300))).await;
        }
        let request = support::unpublish(volume, &target);
        self.until_ok("NodeUnpublishVolume", name, |clients| {
            let (mut client, request) = (clients.node.node, request.clone());
            async move { client.node_unpublish_volume(request).await }
        })
        .await?;
        std::fs::remove_dir(&above)?;
        Ok(None)
    }

    async fn get(&self, name: &str, volume: &Volume) {
        let request = proto::ControllerGetVolumeRequest { volume_id: volume.volume_id.clone() };
        let answer = self.clients().controller.controller.controller_get_volume(request).await;
        self.judge("ControllerGetVolume", name, &answer);
    }

    async fn stats(&self, name: &str, volume: &Volume, published: Option<&Path>) {
        let Some(target) = published else { return };
        let request = proto::NodeGetVolumeStatsRequest {
            volume_id: volume.volume_id.clone(),
            volume_path: target.to_string_lossy().into_owned(),
            ..Default::default()
        };
        let answer = self.clients().node.node.node_get_volume_stats(request).await;
        self.judge("NodeGetVolumeStats", name, &answer);
    }

    /// Takes a snapshot, and deletes two of three.
    async fn snapshot(&mut self, name: &str, volume: &Volume) -> Result<()> {
        let snapshot = format!("s-{name}-{}", self.random.below(1 << 30));
        let request = proto::CreateSnapshotRequest {
            name: snapshot.clone(),
            source_volume_id: volume.volume_id.clone(),
            ..Default::default()
        };
        let made = self.until_ok("CreateSnapshot", name, |clients| {
            let (mut client, request) = (clients.controller.controller, request.clone());
            async move { client.create_snapshot(request).await }
        });
        let made = made.await?.snapshot.unwrap_or_default();
        self.stage.model.snapshotted(&snapshot);
        if self.random.below(3) == 0 {
            return Ok(());
        }
        let request = proto::DeleteSnapshotRequest { snapshot_id: made.snapshot_id, ..Default::default() };
        self.until_ok("DeleteSnapshot", name, |clients| {
            let (mut client, request) = (clients.controller.controller, request.clone());
            async move { client.delete_snapshot(request).await }
        })
        .await?;
        self.stage.model.snapshot_gone(&snapshot);
        Ok(())
    }

    fn clients(&self) -> Clients {
        self.stage.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Repeats a call until it succeeds. Once the faults are over, it must do so soon.
    async fn until_ok<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        rpc: &str,
        name: &str,
        mut call: impl FnMut(Clients) -> F,
    ) -> Result<T> {
        let mut since_stop: Option<Instant> = None;
        loop {
            let bound = Duration::from_secs(CALL_TIMEOUT + 3);
            let answer = match tokio::time::timeout(bound, call(self.clients())).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::data_loss("no answer within the call timeout and 3 s")),
            };
            self.judge(rpc, name, &answer);
            match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => {
                    if self.stage.stop.load(Ordering::Relaxed) {
                        let since = *since_stop.get_or_insert_with(Instant::now);
                        if since.elapsed() > PATIENCE {
                            bail!("{rpc} of {name}: {:?}: {}", status.code(), status.message());
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Counts an answer, and notes one that is wrong whatever the server does.
    fn judge<T>(&self, rpc: &str, name: &str, answer: &Result<Response<T>, Status>) {
        let Err(status) = answer else { return self.stage.model.count(Code::Ok) };
        self.stage.model.count(status.code());
        // The connection of a service that was killed.
        if status.code() == Code::Unknown
            || status.code() == Code::Unavailable
            || status.code() == Code::Cancelled
        {
            return;
        }
        let unpublish = rpc == "NodeUnpublishVolume";
        if NEVER.contains(&status.code()) || status.code() == Code::DataLoss || unpublish {
            self.stage.model.note_wrong(format!(
                "{rpc} of {name}: {:?}: {}",
                status.code(),
                status.message()
            ));
        }
    }
}
