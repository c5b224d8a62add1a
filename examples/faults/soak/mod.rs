//! Random faults, random calls and restarts, compared with a model of what must exist.

mod model;
mod worker;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;
use tokio::task::JoinSet;

use crate::agent::on_server;
use crate::cell::{export_is_clean, node_is_clean};
use crate::fault::Fault;
use crate::round::until_ok;
use crate::world::{Version, World};
use model::{Model, Random};

/// How many workers make calls at the same time. Each has its own volumes.
const WORKERS: u64 = 6;

/// What the workers and the faults share.
struct Stage {
    clients: RwLock<crate::world::Clients>,
    model: Model,
    stop: AtomicBool,
}

/// Runs for this many seconds. Returns whether nothing was lost and no answer was wrong.
pub(crate) async fn run(driver: &Path, version: Version, seconds: u64) -> Result<bool> {
    let seed = match std::env::var("NFS_SUBDIR_CSI_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() | 1,
    };
    println!(
        "NFS {}: {seconds} s with the seed {seed} (NFS_SUBDIR_CSI_SEED={seed} repeats it)",
        version.name()
    );
    let mut world = World::make(driver, version)?;
    world.start().await?;
    let stage = Arc::new(Stage {
        clients: RwLock::new(world.calls()?),
        model: Model::default(),
        stop: AtomicBool::new(false),
    });
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(worker::work(Arc::clone(&stage), worker, Random::new(seed.wrapping_add(worker << 32))));
    }
    let mut random = Random::new(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut counts = Counts::default();
    while Instant::now() < end {
        let played = fault(&mut world, &stage, &mut random, &mut counts).await;
        if let Err(error) = played {
            println!("{}", World::logs());
            return Err(error);
        }
    }
    stage.stop.store(true, Ordering::Relaxed);
    let mut settled = true;
    while let Some(result) = workers.join_next().await {
        if let Err(error) = result? {
            println!("  FAIL not settled: {error:#}");
            settled = false;
        }
    }
    counts.checked += check_marks(&stage)?;
    let last = finish(&stage).await;
    if let Err(error) = &last {
        println!("  FAIL at the end: {error:#}");
    }
    let wrong = stage.model.wrong();
    for wrong in &wrong {
        println!("  FAIL wrong answer: {wrong}");
    }
    println!(
        "NFS {}, seed {seed}: {} faults, {} restarts by SIGKILL, {} calls ({}), {} marks checked; {} wrong answers; {} lost or left",
        version.name(),
        counts.faults,
        counts.restarts,
        stage.model.calls(),
        stage.model.codes(),
        counts.checked,
        wrong.len(),
        usize::from(last.is_err())
    );
    if !wrong.is_empty() || last.is_err() || !settled {
        println!("{}", World::logs());
    }
    world.end("-KILL").await?;
    Ok(wrong.is_empty() && last.is_ok() && settled)
}

#[derive(Default)]
struct Counts {
    faults: usize,
    restarts: usize,
    checked: usize,
}

/// A time without a fault, in which the volumes are marked and compared; and then a fault.
async fn fault(world: &mut World, stage: &Stage, random: &mut Random, counts: &mut Counts) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(1000 + random.below(5000))).await;
    counts.checked += check_marks(stage)?;
    // After another fsid, what is published is stale for ever.
    let faults: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| ![Fault::OtherFsid, Fault::RpcbindSilent].contains(fault))
        .collect();
    let chosen = faults[usize::try_from(random.below(faults.len() as u64))?];
    let (lasts, restart) = (Duration::from_millis(500 + random.below(20_000)), random.below(4) == 0);
    println!(
        "  {} for {:.1} s{}",
        chosen.name(),
        lasts.as_secs_f64(),
        if restart { ", with a restart" } else { "" }
    );
    chosen.begin(world)?;
    counts.faults += 1;
    tokio::time::sleep(lasts / 2).await;
    if restart {
        world.end("-KILL").await?;
        world.start().await?;
        *stage.clients.write().unwrap_or_else(std::sync::PoisonError::into_inner) = world.calls()?;
        counts.restarts += 1;
    }
    tokio::time::sleep(lasts / 2).await;
    chosen.end(world)
}

/// Gives each volume that has none a mark, on the server, and compares the marks of the others. Returns how many were compared.
fn check_marks(stage: &Stage) -> Result<usize> {
    let (with, without) = stage.model.marked();
    let mut script = String::from("cd /share;");
    for name in &with {
        write!(script, " [ \"$(cat {name}/mark 2>&1)\" = {name} ] || echo {name};")?;
    }
    for name in &without {
        // The volume may be deleted just now.
        write!(script, " {{ echo {name} >{name}/mark; }} 2>/dev/null || echo -{name};")?;
    }
    // These are the server's own files. Unlike those of a client, they are lost when it is killed before it has written them.
    script += " sync -f /share";
    let output = on_server(&script)?;
    let bad: Vec<&str> = output.lines().collect();
    for name in bad.iter().filter(|name| !name.starts_with('-')) {
        if stage.model.is_present(name) {
            stage.model.note_wrong(format!("{name} has lost its mark"));
        }
    }
    let not_made = |name: &&String| bad.iter().any(|bad| bad.strip_prefix('-') == Some(name.as_str()));
    for name in without.iter().filter(|name| !not_made(name)) {
        stage.model.mark(name);
    }
    Ok(with.len())
}

/// Compares the lists with the model, deletes everything, and looks at what is left.
async fn finish(stage: &Stage) -> Result<()> {
    let clients = stage.clients.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let controller = clients.controller.controller;
    let listed =
        until_ok(async || controller.clone().list_volumes(proto::ListVolumesRequest::default()).await)
            .await?;
    let mut listed: Vec<String> = listed
        .entries
        .into_iter()
        .filter_map(|entry| entry.volume?.volume_id.strip_prefix("faulty#").map(str::to_owned))
        .collect();
    listed.sort();
    let expected = stage.model.present();
    ensure!(listed == expected, "ListVolumes has {listed:?}, and not {expected:?}");
    for name in expected {
        let request =
            proto::DeleteVolumeRequest { volume_id: format!("faulty#{name}"), ..Default::default() };
        until_ok(async || controller.clone().delete_volume(request.clone()).await).await.context(name)?;
    }
    let snapshots =
        until_ok(async || controller.clone().list_snapshots(proto::ListSnapshotsRequest::default()).await);
    let snapshots = snapshots.await?.entries;
    let mut listed: Vec<String> = snapshots
        .into_iter()
        .filter_map(|entry| entry.snapshot?.snapshot_id.strip_prefix("faulty#").map(str::to_owned))
        .collect();
    listed.sort();
    let expected = stage.model.snapshots();
    ensure!(listed == expected, "ListSnapshots has {listed:?}, and not {expected:?}");
    for name in expected {
        let request =
            proto::DeleteSnapshotRequest { snapshot_id: format!("faulty#{name}"), ..Default::default() };
        until_ok(async || controller.clone().delete_snapshot(request.clone()).await).await.context(name)?;
    }
    export_is_clean().await?;
    node_is_clean()
}
