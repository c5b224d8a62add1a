//! Copies that hang at a dead export, and one on a healthy export.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;

use super::{Timed, create, delete};
use crate::agent::on_server;
use crate::clients::Link;
use crate::round::until_ok;
use crate::world::{Clients, World};

/// As many copies as are made at once, and some more.
const DEAD: usize = 6;
/// A copy of an empty volume takes at most this time if nothing delays it.
const AT_ONCE: Duration = Duration::from_secs(3);

pub(super) async fn play(world: &mut World) -> Result<()> {
    world.start().await?;
    let clients = world.calls()?;
    let healthy = create(&clients, "healthy", "copied").await?;
    let mut dead = Vec::new();
    for number in 0..DEAD {
        dead.push(create(&clients, "faulty", &format!("hangs-{number}")).await?);
    }
    let before = snapshot(&clients, &healthy.volume_id, "before").await;
    world.link(Link { requests_lost: true, replies_lost: true, delay: 0 })?;
    let mut hanging = tokio::task::JoinSet::new();
    for (number, volume) in dead.iter().enumerate() {
        let (clients, id) = (clients.clone(), volume.volume_id.clone());
        hanging.spawn(async move { snapshot(&clients, &id, &format!("s-hangs-{number}")).await });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let during = snapshot(&clients, &healthy.volume_id, "during").await;
    println!(
        "  a snapshot on the healthy export while {DEAD} hang: {:.2} s, before {:.2} s",
        during.took.as_secs_f64(),
        before.took.as_secs_f64()
    );
    let answers = hanging.join_all().await;
    super::tally("snapshots on the dead export", &answers);
    world.link(Link::default())?;
    for (number, volume) in dead.iter().enumerate() {
        let id = volume.volume_id.clone();
        let name = format!("s-hangs-{number}");
        let request = request(&id, &name);
        until_ok(async || clients.controller.controller.clone().create_snapshot(request.clone()).await)
            .await
            .with_context(|| format!("{name} after the fault"))?;
        drop_snapshot(&clients, "faulty", &name).await?;
        delete(&clients, volume).await?;
    }
    for name in ["before", "during"] {
        drop_snapshot(&clients, "healthy", name).await?;
    }
    delete(&clients, &healthy).await?;
    let left = on_server("find /share/.nfs-subdir-csi/snapshots -mindepth 1")?;
    ensure!(left.is_empty(), "snapshots are left: {left}");
    ensure!(during.answer.is_ok(), "a snapshot on the healthy export: {}", during.message());
    ensure!(during.took < AT_ONCE, "a snapshot on the healthy export took {:?}", during.took);
    ensure!(answers.iter().all(|answer| answer.answer.is_err()), "a snapshot on the dead export succeeded");
    Ok(())
}

fn request(volume: &str, name: &str) -> proto::CreateSnapshotRequest {
    proto::CreateSnapshotRequest {
        name: name.to_owned(),
        source_volume_id: volume.to_owned(),
        ..Default::default()
    }
}

async fn snapshot(clients: &Clients, volume: &str, name: &str) -> Timed {
    Timed::of(clients.controller.controller.clone().create_snapshot(request(volume, name))).await
}

async fn drop_snapshot(clients: &Clients, export: &str, name: &str) -> Result<()> {
    let request =
        proto::DeleteSnapshotRequest { snapshot_id: format!("{export}#{name}"), ..Default::default() };
    until_ok(async || clients.controller.controller.clone().delete_snapshot(request.clone()).await)
        .await
        .with_context(|| format!("delete the snapshot {name}"))
        .map(drop)
}
