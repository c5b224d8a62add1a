//! 200 publishes at an export whose server is dead.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::{Timed, create, delete, tally, target, unpublish};
use crate::clients::Link;
use crate::support;
use crate::world::{CALL_TIMEOUT, World};

const CALLS: usize = 200;

pub(super) async fn play(world: &mut World) -> Result<()> {
    world.start().await?;
    let volume = create(&world.calls()?, "faulty", "many").await?;
    world.end("-KILL").await?;
    world.link(Link { requests_lost: true, replies_lost: true, delay: 0 })?;
    world.start().await?;
    let clients = world.calls()?;
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let request = support::publish(&volume, &target(&format!("many-{number}"))?, &[]);
        let mut node = clients.node.node.clone();
        calls.spawn(async move { Timed::of(node.node_publish_volume(request)).await });
    }
    let answers = calls.join_all().await;
    tally(&format!("{CALLS} publishes at once at a dead export"), &answers);
    let tells = |answer: &&Timed| {
        answer.message().contains("is it running") || answer.message().contains("does the NFS server run")
    };
    let (told, named) = (
        answers.iter().filter(tells).count(),
        answers.iter().filter(|answer| answer.message().contains("nfs-faulty:/share")).count(),
    );
    println!("  {named} of {CALLS} messages name the export, and {told} the cause");

    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let (volume, target, clients) = (volume.clone(), target(&format!("many-{number}"))?, clients.clone());
        calls.spawn(async move { unpublish(&clients, &volume, &target).await });
    }
    let unpublished = calls.join_all().await;
    tally(&format!("{CALLS} unpublishes at once"), &unpublished);
    world.link(Link::default())?;
    super::publish(&clients, &volume, &target("many-after")?).await?;
    unpublish(&clients, &volume, &target("many-after")?).await.answer?;
    delete(&clients, &volume).await?;

    let bound = Duration::from_secs(CALL_TIMEOUT + 3);
    ensure!(answers.iter().all(|answer| answer.took < bound), "a publish took longer than {bound:?}");
    ensure!(answers.iter().all(|answer| answer.answer.is_err()), "a publish succeeded");
    ensure!(unpublished.iter().all(|answer| answer.answer.is_ok()), "an unpublish failed");
    ensure!(
        unpublished.iter().all(|answer| answer.took < Duration::from_secs(2)),
        "an unpublish took longer than 2 s among {CALLS}"
    );
    ensure!(named == CALLS, "{} messages do not name the export", CALLS - named);
    ensure!(told == CALLS, "{} messages do not name the cause", CALLS - told);
    Ok(())
}
