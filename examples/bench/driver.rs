//! The two services with a client for each. Every call is a function that returns how long it took.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;

use crate::common::{PARAMETERS, Stage, timed};
use crate::support::{self, Client, Service};

/// A running service and the connection to it.
pub(crate) struct Running {
    service: Service,
    pub(crate) client: Client,
}

impl Running {
    pub(crate) async fn controller(stage: &Stage) -> Result<Self> {
        Self::warm(stage.controller()?).await
    }

    pub(crate) async fn node(stage: &Stage) -> Result<Self> {
        Self::warm(stage.node()?).await
    }

    /// Waits until the service has started the threads that its calls run on, which it does once.
    pub(crate) async fn warm(service: Service) -> Result<Self> {
        let mut client = service.client().await;
        timed(client.identity.probe(proto::ProbeRequest {})).await?;
        let calls = (0..4).map(|number| {
            let mut client = client.clone();
            // One of the two calls is not offered by the service, and there is no such volume, so no export is mounted.
            async move {
                let id = format!("none-{number}");
                let stats = proto::NodeGetVolumeStatsRequest {
                    volume_id: id.clone(),
                    volume_path: format!("/none-{number}"),
                    ..Default::default()
                };
                let _ = client.node.node_get_volume_stats(stats).await;
                let delete = proto::DeleteVolumeRequest { volume_id: id, ..Default::default() };
                let _ = client.controller.delete_volume(delete).await;
            }
        });
        let mut together = tokio::task::JoinSet::new();
        calls.for_each(|call| drop(together.spawn(call)));
        together.join_all().await;
        Ok(Self { service, client })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.service.pid()
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        // Closes the connection first. This thread cannot do it while it waits for the service.
        drop(self.client);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let status = self.service.stop();
        ensure!(status.success(), "a service ended with {status}");
        Ok(())
    }

    pub(crate) fn kill(&mut self) {
        self.service.kill();
    }

    pub(crate) async fn probe(&mut self) -> Result<Duration> {
        Ok(timed(self.client.identity.probe(proto::ProbeRequest {})).await?.1)
    }

    pub(crate) async fn create(&mut self, name: &str) -> Result<(proto::Volume, Duration)> {
        let request = support::create(name, &PARAMETERS);
        let (answer, time) = timed(self.client.controller.create_volume(request)).await?;
        Ok((answer.volume.context("the answer has no volume")?, time))
    }

    pub(crate) async fn delete(&mut self, volume: &proto::Volume) -> Result<Duration> {
        Ok(timed(self.client.controller.delete_volume(support::delete(volume))).await?.1)
    }

    pub(crate) async fn publish(&mut self, volume: &proto::Volume, target: &Path) -> Result<Duration> {
        let request = support::publish(volume, target, &[]);
        Ok(timed(self.client.node.node_publish_volume(request)).await?.1)
    }

    pub(crate) async fn unpublish(&mut self, volume: &proto::Volume, target: &Path) -> Result<Duration> {
        let request = support::unpublish(volume, target);
        Ok(timed(self.client.node.node_unpublish_volume(request)).await?.1)
    }

    pub(crate) async fn stats(&mut self, volume: &proto::Volume, target: &Path) -> Result<Duration> {
        let request = proto::NodeGetVolumeStatsRequest {
            volume_id: volume.volume_id.clone(),
            volume_path: target.to_string_lossy().into_owned(),
            ..Default::default()
        };
        Ok(timed(self.client.node.node_get_volume_stats(request)).await?.1)
    }
}

/// Creates volumes one after the other, whose names begin with `prefix`.
pub(crate) async fn volumes(
    controller: &mut Running,
    prefix: &str,
    count: usize,
) -> Result<Vec<proto::Volume>> {
    let mut volumes = Vec::new();
    for number in 0..count {
        volumes.push(controller.create(&format!("{prefix}-{number}")).await?.0);
    }
    Ok(volumes)
}

/// A target path for the pod `pod` with this number.
pub(crate) fn target(stage: &Stage, pod: &str, number: usize) -> Result<PathBuf> {
    stage.target(&format!("{pod}-{number}"), "pvc")
}
