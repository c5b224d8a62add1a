//! Uses the healthy export all the time: publishes a volume and unpublishes it, again and again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nfs_subdir_csi::csi::proto::Volume;

use crate::round::until_ok;
use crate::support;
use crate::world::{Clients, KUBELET};

/// The pause between two publishes.
const PAUSE: Duration = Duration::from_millis(100);

/// One publish of a healthy volume.
#[derive(Debug, Clone)]
struct Sample {
    begun: Instant,
    took: Duration,
    error: Option<String>,
}

/// Uses the healthy export until it is ended.
pub(crate) struct Healthy {
    clients: Clients,
    volume: Volume,
    target: PathBuf,
    samples: Arc<Mutex<Vec<Sample>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Healthy {
    /// Creates a volume on the healthy export, and begins to publish it.
    pub(crate) async fn begin(clients: Clients, name: &str) -> Result<Self> {
        let request = support::create(name, &[("export", "healthy")]);
        let made = clients.controller.controller.clone().create_volume(request).await;
        let volume = made.context("a volume on the healthy export")?.into_inner().volume.unwrap_or_default();
        let target = Path::new(KUBELET).join("pods/healthy").join(name);
        std::fs::create_dir_all(target.parent().context("no parent")?)?;
        let samples = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut node) = (Arc::clone(&samples), clients.node.node.clone());
        let own = (volume.clone(), target.clone());
        let task = tokio::spawn(async move {
            let (volume, target) = own;
            loop {
                let begun = Instant::now();
                let published = node.node_publish_volume(support::publish(&volume, &target, &[])).await;
                let took = begun.elapsed();
                let unpublished = node.node_unpublish_volume(support::unpublish(&volume, &target)).await;
                let error =
                    published.map(drop).and(unpublished.map(drop)).err().map(|status| status.to_string());
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(Sample { begun, took, error });
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { clients, volume, target, samples, task })
    }

    /// The median time of a publish that has begun since then, the number of publishes, and the first error.
    pub(crate) fn since(&self, since: Instant) -> (Duration, usize, Option<String>) {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.begun >= since).collect();
        let mut times: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or(Duration::MAX);
        (median, samples.len(), samples.iter().find_map(|sample| sample.error.clone()))
    }

    /// Removes the volume.
    pub(crate) async fn end(self) -> Result<()> {
        self.task.abort();
        let _ = self.task.await;
        let Self { clients, volume, target, .. } = self;
        until_ok(async || {
            clients.node.node.clone().node_unpublish_volume(support::unpublish(&volume, &target)).await
        })
        .await
        .context("NodeUnpublishVolume on the healthy export")?;
        until_ok(async || {
            clients.controller.controller.clone().delete_volume(support::delete(&volume)).await
        })
        .await
        .context("DeleteVolume on the healthy export")?;
        Ok(())
    }
}
