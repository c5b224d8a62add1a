//! Many publishes, and many unpublishes of volumes that nobody knows, leave nothing in the node service.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;
use tokio::task::JoinSet;

use super::{create, delete, target, unpublish};
use crate::support;
use crate::world::{Clients, World};

const CYCLES: usize = 10_000;
const UNKNOWN: usize = 20_000;
/// Calls at the same time.
const AT_ONCE: usize = 4;
/// Memory that the allocator may keep, in kB.
const ROOM: usize = 2048;

pub(super) async fn play(world: &mut World) -> Result<()> {
    world.start().await?;
    let clients = world.calls()?;
    let pid = world.services()?.node.pid();
    let volume = create(&clients, "faulty", "cycled").await?;
    // Threads and caches exist after the first calls, and stay.
    cycles(&clients, &volume, AT_ONCE * 50).await?;
    unknown(&clients, "first", AT_ONCE * 250).await?;
    let before = Gauge::of(pid)?;
    println!("  before: {before:?}");
    let begun = Instant::now();
    cycles(&clients, &volume, CYCLES).await?;
    let middle = Gauge::of(pid)?;
    println!(
        "  after {CYCLES} publishes and unpublishes in {:.0} s: {middle:?}",
        begun.elapsed().as_secs_f64()
    );
    let begun = Instant::now();
    unknown(&clients, "unknown", UNKNOWN).await?;
    let after = Gauge::of(pid)?;
    println!(
        "  after {UNKNOWN} unpublishes of unknown handles in {:.0} s: {after:?}",
        begun.elapsed().as_secs_f64()
    );
    delete(&clients, &volume).await?;
    for gauge in [&middle, &after] {
        ensure!(gauge.rss <= before.rss + ROOM, "the memory grew from {} to {} kB", before.rss, gauge.rss);
        let grown =
            gauge.threads > before.threads || gauge.files > before.files || gauge.mounts > before.mounts;
        ensure!(!grown, "threads, open files or mounts grew");
    }
    Ok(())
}

async fn cycles(clients: &Clients, volume: &proto::Volume, count: usize) -> Result<()> {
    let mut workers = JoinSet::new();
    for worker in 0..AT_ONCE {
        let (clients, volume, target) =
            (clients.clone(), volume.clone(), target(&format!("cycle-{worker}"))?);
        workers.spawn(async move {
            for _ in 0..count / AT_ONCE {
                clients
                    .node
                    .node
                    .clone()
                    .node_publish_volume(support::publish(&volume, &target, &[]))
                    .await?;
                unpublish(&clients, &volume, &target).await.answer?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    workers.join_all().await.into_iter().collect()
}

async fn unknown(clients: &Clients, prefix: &str, count: usize) -> Result<()> {
    let mut workers = JoinSet::new();
    for worker in 0..AT_ONCE {
        let (clients, prefix) = (clients.clone(), prefix.to_owned());
        let above = target(&format!("unknown-{worker}"))?;
        workers.spawn(async move {
            for number in 0..count / AT_ONCE {
                let volume = proto::Volume {
                    volume_id: format!("nas-{number}.example:/srv#{prefix}-{worker}-{number}"),
                    ..Default::default()
                };
                unpublish(&clients, &volume, &above).await.answer?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    workers.join_all().await.into_iter().collect()
}

/// What a process uses.
#[derive(Debug)]
struct Gauge {
    /// In kB.
    rss: usize,
    threads: usize,
    files: usize,
    mounts: usize,
}

impl Gauge {
    fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| -> Result<usize> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
            Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
        };
        Ok(Self {
            rss: number("VmRSS")?,
            threads: number("Threads")?,
            files: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            mounts: std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?.lines().count(),
        })
    }
}
