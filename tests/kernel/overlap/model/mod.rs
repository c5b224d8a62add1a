//! Three controllers and two node services use one share while they are killed, stopped, cut off and restarted. What the share
//! holds in the end is compared with what they have acknowledged.
//!
//! Every caller owns the directories that it asks for and waits for each answer, as Kubernetes' sidecars do, but it turns to another
//! controller when an answer does not come. So a call may run in several processes at the same time, and any of them may go on
//! with it long after the answer of another one.

mod cast;
mod check;
mod faults;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::members::on_server;
use crate::fixture::random::{Random, seed};
use crate::fixture::{Place, say, server, until};
use cast::{Cast, Reached};
use worker::Worker;

/// Calls in a run. `NFS_SUBDIR_CSI_CALLS` sets another number.
const CALLS: u64 = 2000;
/// Callers at the same time.
const WORKERS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_processes_are_killed_stopped_and_cut_off() {
    let calls = std::env::var("NFS_SUBDIR_CSI_CALLS").map_or(CALLS, |text| text.parse().unwrap());
    let seed = seed();
    let place = Place::take(&[]).await;
    let cast = Arc::new(Cast::start(&place).await);
    let over = Arc::new(AtomicBool::new(false));
    let faults = tokio::spawn(faults::provoke(Arc::clone(&cast), Random::new(seed), Arc::clone(&over)));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..WORKERS {
        let random = Random::new(seed + 1 + number);
        let mut worker = Worker::new(number, random, Arc::clone(&cast), format!("seed {seed}"));
        tasks.spawn(async move {
            worker.work(calls / WORKERS).await;
            worker
        });
    }
    let mut workers = Vec::new();
    while let Some(worker) = tasks.join_next().await {
        workers.push(worker.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    over.store(true, Ordering::Relaxed);
    let faults = faults.await.unwrap();
    say(&format!("{calls} calls at {WORKERS} callers, {faults}; seed {seed}"));

    for worker in &mut workers {
        worker.check_all().await;
    }
    compare(&cast, &mut workers, seed).await;
}

/// Compares the share with what all workers know, after everything that was forgotten has been cleaned up.
async fn compare(cast: &Cast, workers: &mut [Worker], seed: u64) {
    for worker in &mut *workers {
        worker.remove_what_late_calls_made().await;
    }
    let mut expected: Vec<String> = workers.iter().flat_map(Worker::directories).collect();
    expected.sort();
    until("no directory is left that no volume owns", || top_directories() == expected).await;
    // The data of deleted volumes: kept for a day where the export's configuration says so, else removed.
    let kept: Vec<&str> = workers.iter().flat_map(Worker::kept_in_trash).collect();
    let removed: Vec<&str> = workers.iter().flat_map(Worker::removed).collect();
    for reached in [Reached::Inline, Reached::Named] {
        cast.wake(reached).await;
    }
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    loop {
        let present = files_on_share();
        let left: Vec<_> = removed.iter().filter(|file| present.contains(**file)).collect();
        if left.is_empty() {
            let lost: Vec<_> = kept.iter().filter(|file| !present.contains(**file)).collect();
            assert!(lost.is_empty(), "seed {seed}: not kept for as long as promised: {lost:?}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "seed {seed}: never removed: {left:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    say(&format!(
        "{} volumes and snapshots compared, {} kept, {} removed",
        expected.len(),
        kept.len(),
        removed.len()
    ));
}

/// The directories of volumes and archives on the share. An archive that is empty is that of a volume which a process made late, and
/// which nobody ever used.
fn top_directories() -> Vec<String> {
    let mut directories = Vec::new();
    for top in server::entries("/share") {
        for below in on_server(&top).read_dir().into_iter().flatten().flatten() {
            let name = format!("{top}/{}", below.file_name().to_str().unwrap());
            let is_empty = below.path().read_dir().is_ok_and(|mut entries| entries.next().is_none());
            if !(top.starts_with("archived-") && is_empty) {
                directories.push(name);
            }
        }
    }
    directories.sort();
    directories
}

/// The names of all files of the workers on the share, wherever they lie.
fn files_on_share() -> std::collections::BTreeSet<String> {
    let mut find = std::process::Command::new("find");
    find.arg(server::exported("/share")).args([
        "-ignore_readdir_race",
        "-name",
        "data-of-*",
        "-printf",
        "%f\n",
    ]);
    server::run(&mut find).lines().map(str::to_owned).collect()
}
