//! One fault at one moment: makes all calls at the same time, and checks everything that must be true afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;

use crate::agent::on_server;
use crate::calls::{self, Class, Outcome};
use crate::expect;
use crate::fault::{Fault, Moment, slow_before};
use crate::healthy::Healthy;
use crate::round::{PATIENCE, Round, until_ok};
use crate::world::{KUBELET, World};

/// How long the healthy export is measured before the fault.
const BEFORE: Duration = Duration::from_millis(1500);
/// How long after the calls of [`Moment::During`] the fault begins: a round trip and a half on their slow link.
const IN_THE_MIDDLE: Duration = Duration::from_millis(180);

/// How much the median of about twenty publishes can differ by itself on a machine that also does other things.
const NOISE: Duration = Duration::from_millis(10);

/// The result of one fault at one moment.
pub(crate) struct Cell {
    pub(crate) fault: Fault,
    pub(crate) moment: Moment,
    /// Each call, and in what it differs from what is promised.
    pub(crate) outcomes: Vec<(Outcome, Option<String>)>,
    /// What else differs from what is promised.
    pub(crate) failures: Vec<String>,
    /// From the end of the fault until everything worked.
    pub(crate) recovery: Option<Duration>,
    /// The median of a healthy publish before and during the fault.
    pub(crate) healthy: (Duration, Duration),
    /// [`crate::agent::load`] after the calls.
    pub(crate) load: f64,
}

/// What the services have open while they are idle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Open {
    /// What each open file is.
    files: Vec<String>,
    mounts: usize,
    /// Threads that wait for a server.
    stuck: usize,
}

/// Tries one fault at one moment.
pub(crate) async fn run(world: &mut World, number: usize, fault: Fault, moment: Moment) -> Result<Cell> {
    let round = Round::prepare(world.calls()?, format!("c{number}")).await?;
    let mut healthy = Healthy::begin(world.calls()?, &format!("healthy-{number}")).await?;
    let begun = Instant::now();
    tokio::time::sleep(BEFORE).await;
    let before = healthy.since(begun);
    world.healthy = world.healthy.max(before.0);
    round.open_what_is_kept().await?;
    let open = [open(world.services()?.controller.pid())?, open(world.services()?.node.pid())?];

    let (round, outcomes, since) = match moment {
        Moment::Cold => {
            healthy.end().await?;
            world.end("-KILL").await?;
            fault.begin(world)?;
            world.start().await?;
            let round = Round { clients: world.calls()?, ..round };
            healthy = Healthy::begin(world.calls()?, &format!("healthy-{number}-cold")).await?;
            let since = Instant::now();
            let outcomes = at_once(&round).await;
            (round, outcomes, since)
        }
        Moment::Warm => {
            fault.begin(world)?;
            let since = Instant::now();
            let outcomes = at_once(&round).await;
            (round, outcomes, since)
        }
        Moment::During => {
            slow_before(world)?;
            let since = Instant::now();
            let running = tokio::spawn({
                let calls = calls::all(&round);
                async move { together(calls).await }
            });
            tokio::time::sleep(IN_THE_MIDDLE).await;
            fault.begin(world)?;
            (round, running.await?, since)
        }
    };
    let load = crate::agent::load()?;
    // The first second belongs to the calls: all begin at once, and the guest has one processor.
    let since = since + Duration::from_secs(1).mul_f64(load);
    tokio::time::sleep((since + BEFORE).saturating_duration_since(Instant::now())).await;
    let during = healthy.since(since);
    fault.end(world)?;
    if moment == Moment::During {
        world.link(crate::clients::Link::default())?;
    }
    let mut failures = Vec::new();
    let recovery = round.recover().await;
    let mut note = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            failures.push(format!("{what}: {error:#}"));
        }
    };
    note("healthy export", check_healthy(world.healthy, &during, load));
    note("nothing left", round.clear().await);
    note("nothing left of the healthy volume", healthy.end().await);
    note("nothing left on the export", export_is_clean().await);
    note("nothing left on the node", node_is_clean());
    note("nothing left in the services", services_are_clean(world, open).await);
    let recovery = match recovery {
        Ok(time) => Some(time),
        Err(error) => {
            failures.push(format!("no recovery: {error:#}"));
            None
        }
    };
    let judged = outcomes.into_iter().map(|outcome| {
        let broken = expect::broken(fault, moment, &outcome, load);
        (outcome, broken)
    });
    Ok(Cell {
        fault,
        moment,
        outcomes: judged.collect(),
        failures,
        recovery,
        healthy: (before.0, during.0),
        load,
    })
}

/// Uses and clears both exports once, so that the services have opened what they keep open.
pub(crate) async fn warm_up(world: &World) -> Result<()> {
    let round = Round::prepare(world.calls()?, "warm-up".to_owned()).await?;
    let healthy = Healthy::begin(world.calls()?, "healthy-warm-up").await?;
    round.recover().await?;
    round.clear().await?;
    healthy.end().await?;
    export_is_clean().await
}

async fn at_once(round: &Round) -> Vec<Outcome> {
    together(calls::all(round)).await
}

async fn together(calls: Vec<calls::Call>) -> Vec<Outcome> {
    let mut running = tokio::task::JoinSet::new();
    for call in calls {
        running.spawn(call.run());
    }
    let mut outcomes = running.join_all().await;
    outcomes.sort_by_key(|outcome| (order(outcome.class), outcome.name));
    outcomes
}

/// Groups calls that are alike.
const fn order(class: Class) -> u8 {
    class as u8
}

fn check_healthy(before: Duration, during: &(Duration, usize, Option<String>), load: f64) -> Result<()> {
    let (median, count, error) = during;
    ensure!(error.is_none(), "an error on the healthy export: {}", error.as_deref().unwrap_or_default());
    ensure!(*count > 0, "no publish on the healthy export has ended");
    ensure!(
        *median <= before.mul_f64(1.5) + NOISE.mul_f64(load),
        "a publish on the healthy export took {median:?} (median of {count}), before the faults of this run {before:?}"
    );
    Ok(())
}

/// Checks that nothing of the volumes is left on the export, and that nothing is unfinished there.
pub(crate) async fn export_is_clean() -> Result<()> {
    let begun = Instant::now();
    loop {
        // What begins with a dot in a folder of the state directory is about the folder, and stays.
        let left = on_server(
            "cd /share; find . -mindepth 1 -maxdepth 1 ! -name .nfs-subdir-csi ! -name .fill; \
             [ ! -d .nfs-subdir-csi ] || find .nfs-subdir-csi -mindepth 2 -ignore_readdir_race ! -name '.*' \
             ! -regex '.nfs-subdir-csi/\\(processes/[^/]*\\|spare\\)\\(/alive\\)?'",
        )?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{}", left.trim().replace('\n', ", "));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Removes all targets, and everything on the export, and makes the server as it was before the fault. The services must not run.
pub(crate) fn clear_by_force(fault: Fault) -> Result<()> {
    let pods = format!("{KUBELET}/pods");
    let unmount = format!("findmnt -rno TARGET | grep ^{pods}/ | xargs -r -n 1 umount -l; rm -rf {pods}");
    crate::host::run(std::process::Command::new("bash").args(["-c", &unmount]))?;
    on_server("rm -rf /share/* /share/.nfs-subdir-csi")?;
    fault.reset()
}

/// No target is mounted or left.
pub(crate) fn node_is_clean() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let left: Vec<&str> =
        mounts.lines().filter(|line| line.contains(" - nfs") && line.contains(KUBELET)).collect();
    ensure!(left.is_empty(), "mounted: {left:?}");
    let targets = crate::host::run(std::process::Command::new("find").arg(KUBELET).args(["-mindepth", "3"]))?;
    ensure!(targets.is_empty(), "targets: {}", targets.trim().replace('\n', ", "));
    Ok(())
}

/// Checks that the services have nothing open that they did not have open before the fault.
async fn services_are_clean(world: &World, before: [Open; 2]) -> Result<()> {
    let begun = Instant::now();
    let services = world.services()?;
    loop {
        let now = [open(services.controller.pid())?, open(services.node.pid())?];
        let fits = now.iter().zip(&before).all(|(now, before)| {
            now.stuck == 0 && now.files.len() <= before.files.len() + 1 && now.mounts <= before.mounts
        });
        if fits {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "now {now:?}, before the fault {before:?}");
        // The service closes what it keeps for a while only when it is called.
        until_ok(async || services.clients.node.identity.clone().probe(proto::ProbeRequest {}).await).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn open(process: u32) -> Result<Open> {
    let proc = format!("/proc/{process}");
    let files =
        std::fs::read_dir(format!("{proc}/fd"))?.flatten().map(|file| std::fs::read_link(file.path()));
    let mut files: Vec<String> = files.flatten().map(|file| file.to_string_lossy().into_owned()).collect();
    files.sort();
    let mounts = std::fs::read_to_string(format!("{proc}/mountinfo"))?;
    let mounts = mounts.lines().filter(|line| line.contains(" - nfs") && !line.contains(KUBELET)).count();
    let is_stuck = |task: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('D'))
    };
    let tasks = std::fs::read_dir(format!("{proc}/task")).context("tasks")?;
    Ok(Open { files, mounts, stuck: tasks.flatten().filter(is_stuck).count() })
}
