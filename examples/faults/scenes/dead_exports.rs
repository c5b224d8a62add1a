//! 40 and 64 dead exports, each with as many calls as it can have, and a healthy export.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;
use proto::Volume;
use tokio::task::JoinSet;

use super::{Timed, create, delete, publish, tally, target, unpublish};
use crate::agent::on_server;
use crate::clients::Link;
use crate::healthy::Healthy;
use crate::support;
use crate::world::{CALL_TIMEOUT, Version, World, configure};

/// Calls to each export: as many as can run at the same time.
const EACH: usize = 16;
/// How much a median can differ by itself on a machine that also does other things.
const NOISE: Duration = Duration::from_millis(10);

pub(super) async fn play(world: &mut World, version: Version) -> Result<()> {
    for exports in [40, 64] {
        play_with(world, version, exports).await.with_context(|| format!("{exports} dead exports"))?;
    }
    Ok(())
}

async fn play_with(world: &mut World, version: Version, exports: usize) -> Result<()> {
    let shares: Vec<(String, String)> =
        (0..exports).map(|number| (format!("e{number}"), format!("/share/e{number}"))).collect();
    on_server(&format!("for ((i = 0; i < {exports}; i++)); do mkdir -p /share/e$i; done"))?;
    let named: Vec<(&str, &str)> =
        shares.iter().map(|(name, share)| (name.as_str(), share.as_str())).collect();
    configure(version, &named, "")?;
    world.start().await?;
    let clients = world.calls()?;
    let mut volumes: Vec<Volume> = Vec::new();
    for (name, _) in &shares {
        let volume = create(&clients, name, &format!("v-{name}")).await?;
        publish(&clients, &volume, &target(name)?).await?;
        volumes.push(volume);
    }
    let healthy = Healthy::begin(clients.clone(), &format!("healthy-{exports}")).await?;
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = healthy.since(begun);

    world.link(Link { requests_lost: true, replies_lost: true, delay: 0 })?;
    let mut calls = JoinSet::new();
    for (name, _) in &shares {
        for number in 0..EACH {
            // Nobody has looked these directories up, so that no cache knows that there are none.
            let volume = directory(name, number);
            let request = support::publish(&volume, &target(&format!("{name}-{number}"))?, &[]);
            let mut node = clients.node.node.clone();
            calls.spawn(async move { Timed::of(node.node_publish_volume(request)).await });
        }
    }
    // The calls need some time of the guest's only processor to begin.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let since = Instant::now();
    let mut unpublished = Vec::new();
    let mut probes = Vec::new();
    for (volume, (name, _)) in volumes.iter().zip(&shares) {
        unpublished.push(unpublish(&clients, volume, &target(name)?).await);
        probes.push(Timed::of(clients.node.identity.clone().probe(proto::ProbeRequest {})).await);
    }
    let during = healthy.since(since);
    let answers = calls.join_all().await;
    tally(&format!("{} publishes at {exports} dead exports", answers.len()), &answers);
    tally("unpublishes at the dead exports meanwhile", &unpublished);
    println!(
        "  in the service itself, the longest unpublish took {:?}, and the longest publish {:?}; load {:.1}",
        World::longest_in_log("NodeUnpublishVolume"),
        World::longest_in_log("NodePublishVolume"),
        crate::agent::load()?
    );
    tally("probes meanwhile", &probes);
    println!("  a healthy publish: {:?} (median of {}), before {:?}", during.0, during.1, before.0);

    let mut late = Vec::new();
    for (name, _) in &shares {
        for number in 0..EACH {
            let target = target(&format!("{name}-{number}"))?;
            late.push(unpublish(&clients, &directory(name, number), &target).await);
        }
    }
    tally("unpublishes of hanging publishes", &late);
    world.link(Link::default())?;
    healthy.end().await?;
    for volume in &volumes {
        delete(&clients, volume).await?;
    }
    world.end("-KILL").await?;
    on_server("rm -rf /share/e*")?;

    let bound = Duration::from_secs(CALL_TIMEOUT + 3);
    ensure!(answers.iter().all(|answer| answer.answer.is_err()), "a publish at a dead export succeeded");
    ensure!(answers.iter().all(|answer| answer.took < bound), "a publish took longer than {bound:?}");
    ensure!(during.2.is_none() && during.1 > 0, "the healthy export: {:?}", during.2);
    ensure!(during.0 <= before.0.mul_f64(1.5) + NOISE, "the healthy export was slower than 1.5 times");
    for answer in unpublished.iter().chain(&late).chain(&probes) {
        ensure!(answer.answer.is_ok(), "an unpublish or a probe failed: {}", answer.message());
        ensure!(answer.took < Duration::from_secs(1), "an unpublish or a probe took {:?}", answer.took);
    }
    Ok(())
}

/// A directory on an export, as a volume that was written by hand.
fn directory(export: &str, number: usize) -> Volume {
    Volume {
        volume_id: format!("by hand: {export} {number}"),
        volume_context: support::map(&[("export", export), ("subDir", &format!("none-{number}"))]),
        ..Default::default()
    }
}
