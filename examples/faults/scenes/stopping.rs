//! SIGTERM, SIGKILL, and a start while the server is dead and calls hang: as in an upgrade during a fault.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;
use proto::Volume;

use super::{Timed, create, delete, publish, target, unpublish};
use crate::clients::Link;
use crate::support;
use crate::world::{Clients, World};

/// Kubernetes kills a container 30 s after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

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
    let services = world.take()?;
    let begun = Instant::now();
    for service in [&services.node, &services.controller] {
        crate::host::run(std::process::Command::new("kill").args([signal, &service.pid().to_string()]))?;
    }
    for service in [&services.node, &services.controller] {
        ended(service.pid()).await?;
    }
    drop(services);
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
    world.kill();

    ensure!(start < Duration::from_secs(5), "the services took {start:?} to start");
    for answer in [&probe, &unpublished, &hung] {
        ensure!(answer.answer.is_ok(), "{}", answer.message());
        ensure!(answer.took < Duration::from_secs(1), "a call that needs no server took {:?}", answer.took);
    }
    Ok(())
}

/// Waits until a process has ended: it does not exist, or only its parent has not noticed yet.
async fn ended(pid: u32) -> Result<()> {
    let begun = Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") && tasks(pid).len() <= 1 {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < GRACE,
            "process {pid} has not ended within {GRACE:?}: {}",
            tasks(pid).join("; ")
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each thread of a process with its state and what it waits for.
fn tasks(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let describe = |task: std::fs::DirEntry| {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
        format!("{state} {} {}", read("wchan"), read("stack").replace('\n', " "))
    };
    tasks.map(describe).collect()
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
