//! SIGTERM, SIGKILL, and a start while the server is dead and calls hang: as in an upgrade during a fault.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;
use proto::Volume;

use super::{Timed, create, delete, publish, target, unpublish};
use crate::clients::Link;
use crate::support;
use crate::world::{Clients, World};

pub(super) async fn play(world: &mut World) -> Result<()> {
    for signal in ["-TERM", "-KILL"] {
        play_with(world, signal).await.with_context(|| format!("kill {signal}"))?;
    }
    Ok(())
}

async fn play_with(world: &mut World, signal: &str) -> Result<()> {
    world.start().await?;
    let clients = world.calls()?;
    let (published, hanging) =
        (create(&clients, "faulty", "published").await?, create(&clients, "faulty", "hanging").await?);
    publish(&clients, &published, &target("published")?).await?;

    world.link(Link { requests_lost: true, replies_lost: true, delay: 0 })?;
    let hangs = begin_hanging(&clients, &published, &hanging)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    world.end(signal).await?;
    let took = begun.elapsed();
    println!("  both services ended {:.2} s after kill {signal}, with calls that hang", took.as_secs_f64());
    hangs.iter().for_each(tokio::task::JoinHandle::abort);

    let begun = Instant::now();
    world.start().await?;
    let clients = world.calls()?;
    let start = begun.elapsed();
    let probe = Timed::of(clients.node.identity.clone().probe(proto::ProbeRequest {})).await;
    let unpublished = unpublish(&clients, &published, &target("published")?).await;
    let hung = unpublish(&clients, &hanging, &target("hanging")?).await;
    println!(
        "  with the dead server, they served again after {:.2} s; the unpublishes took {:.2} s and {:.2} s",
        start.as_secs_f64(),
        unpublished.took.as_secs_f64(),
        hung.took.as_secs_f64()
    );
    world.link(Link::default())?;
    publish(&clients, &hanging, &target("hanging")?).await?;
    unpublish(&clients, &hanging, &target("hanging")?).await.answer?;
    delete(&clients, &published).await?;
    delete(&clients, &hanging).await?;
    world.end("-KILL").await?;

    ensure!(start < Duration::from_secs(5), "the services took {start:?} to start");
    for answer in [&probe, &unpublished, &hung] {
        ensure!(answer.answer.is_ok(), "{}", answer.message());
        ensure!(answer.took < Duration::from_secs(1), "a call that needs no server took {:?}", answer.took);
    }
    Ok(())
}

fn begin_hanging(
    clients: &Clients,
    published: &Volume,
    hanging: &Volume,
) -> Result<[tokio::task::JoinHandle<()>; 3]> {
    let (mut node, mut stats, mut controller) =
        (clients.node.node.clone(), clients.node.node.clone(), clients.controller.controller.clone());
    let publish = support::publish(hanging, &target("hanging")?, &[]);
    let of = proto::NodeGetVolumeStatsRequest {
        volume_id: published.volume_id.clone(),
        volume_path: target("published")?.to_string_lossy().into_owned(),
        ..Default::default()
    };
    let create = support::create("never", &[("export", "faulty")]);
    Ok([
        tokio::spawn(async move { drop(node.node_publish_volume(publish).await) }),
        tokio::spawn(async move { drop(stats.node_get_volume_stats(of).await) }),
        tokio::spawn(async move { drop(controller.create_volume(create).await) }),
    ])
}
