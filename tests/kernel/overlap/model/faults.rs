//! Faults at random moments: a member is killed, stopped for a while, or cut off from the server.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::cast::Cast;
use crate::fixture::random::Random;
use crate::fixture::server;

/// How often each fault was provoked.
#[derive(Debug, Default)]
pub(super) struct Counts {
    killed: u32,
    stopped: u32,
    cut: u32,
    killed_while_cut: u32,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { killed, stopped, cut, killed_while_cut } = self;
        write!(f, "{killed} killed, {stopped} stopped, {cut} cut off, {killed_while_cut} cut off and killed")
    }
}

/// Provokes one fault after the other until it is `over`. Afterwards all members run and are connected.
pub(super) async fn provoke(cast: Arc<Cast>, mut random: Random, over: Arc<AtomicBool>) -> Counts {
    let mut counts = Counts::default();
    let milliseconds = |random: &mut Random, end| Duration::from_millis(random.below(end));
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(milliseconds(&mut random, 700)).await;
        let member = &cast.members[usize::try_from(random.below(cast.members.len() as u64)).unwrap()];
        match random.below(5) {
            0 | 1 => {
                member.write().await.restart().await;
                counts.killed += 1;
            }
            2 => {
                // Longer than the time after which other processes take it for dead.
                member.read().await.pause(true);
                tokio::time::sleep(milliseconds(&mut random, 7_000)).await;
                member.read().await.pause(false);
                counts.stopped += 1;
            }
            3 => {
                member.read().await.network.lose_replies(true);
                tokio::time::sleep(milliseconds(&mut random, 3_000)).await;
                member.read().await.network.lose_replies(false);
                counts.cut += 1;
            }
            _ => {
                let mut member = member.write().await;
                member.network.lose_replies(true);
                tokio::time::sleep(milliseconds(&mut random, 500)).await;
                let pid = member.service.pid().to_string();
                server::run(Command::new("kill").args(["-KILL", &pid]));
                tokio::time::sleep(milliseconds(&mut random, 2_000)).await;
                // A process that waits for the server ends only when the link is there again.
                member.network.lose_replies(false);
                member.restart().await;
                counts.killed_while_cut += 1;
            }
        }
    }
    counts
}
