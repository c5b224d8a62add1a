//! Volumes on a server that is 5 ms away: one after the other, and many at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use nfs_subdir_csi::csi::proto::Volume;
use nix::mount::{MntFlags, MsFlags, mount};
use tokio::task::JoinSet;

use crate::common::{EXPORTED, PARAMETERS, SERVER, SHARE, Stage, trash_emptied};
use crate::driver::Running;
use crate::verdict::Verdict;
use crate::{network, row, support, table};

const ROUND_TRIP: Duration = Duration::from_millis(5);
/// Calls under way at the same time.
const AT_ONCE: usize = 16;
const ALONE: usize = 40;
const TOGETHER: usize = 320;
/// Volumes in a second, when [`AT_ONCE`] calls are under way.
const AIM: f64 = 80.0;
const MOUNT: &str = "/run/bench-far";

pub(crate) async fn run(stage: &Stage, verdict: &mut Verdict) -> Result<()> {
    println!("Volumes on a server with a round trip of {ROUND_TRIP:?}\n");
    let mut controller = Running::controller(stage).await?;
    // The export is mounted before the network becomes slow.
    let first = controller.create("far-first").await?.0;
    let root = mount_share()?;
    network::delay(Some(ROUND_TRIP))?;
    let measured = measure(&mut controller, &root).await;
    network::delay(None)?;
    unmount(&root)?;
    let rates = measured?;
    controller.delete(&first).await?;
    trash_emptied().await?;
    controller.stop().await?;

    let line = |name: &str, alone: f64, together: f64| row![name, per_second(alone), per_second(together)];
    let rows = [
        line("mkdir(2) in one directory, by threads", rates.floor.0, rates.floor.1),
        line("CreateVolume", rates.create.0, rates.create.1),
        line("DeleteVolume", rates.delete.0, rates.delete.1),
    ];
    table::print(&["a second", "one at a time", &format!("{AT_ONCE} at once")], &rows);
    let ratio = 100.0 * rates.create.1 / rates.floor.1;
    println!("\n  CreateVolume, {AT_ONCE} at once, is {ratio:.0} % of mkdir(2) alone in the same run.\n");
    let together = rates.create.1;
    let aim = format!(
        "{} volumes a second at a round trip of {ROUND_TRIP:?}, {AT_ONCE} at once (at least {AIM})",
        per_second(together)
    );
    verdict.say(together >= AIM, &aim);
    Ok(())
}

/// How often in a second: one at a time, and many at once.
struct Rates {
    floor: (f64, f64),
    create: (f64, f64),
    delete: (f64, f64),
}

async fn measure(controller: &mut Running, root: &Path) -> Result<Rates> {
    let floor = (make_directories(root, 1, ALONE)?, make_directories(root, AT_ONCE, TOGETHER)?);
    let names =
        |prefix: &str, count: usize| (0..count).map(|number| format!("far-{prefix}-{number}")).collect();
    let (alone, together): (Vec<String>, Vec<String>) = (names("alone", ALONE), names("together", TOGETHER));
    let mut volumes = Vec::new();
    let create = (
        each(controller, &alone, 1, &mut volumes).await?,
        each(controller, &together, AT_ONCE, &mut volumes).await?,
    );
    let begun = Instant::now();
    for volume in volumes.drain(..ALONE) {
        controller.delete(&volume).await?;
    }
    let delete_alone = rate(ALONE, begun);
    let begun = Instant::now();
    let calls = volumes.into_iter().map(|volume| {
        let mut client = controller.client.controller.clone();
        async move { Ok(client.delete_volume(support::delete(&volume)).await?) }
    });
    limited(calls, AT_ONCE).await?;
    Ok(Rates { floor, create, delete: (delete_alone, rate(TOGETHER, begun)) })
}

/// Creates volumes, `at_once` at the same time, and returns how many it made in a second.
async fn each(
    controller: &Running,
    names: &[String],
    at_once: usize,
    volumes: &mut Vec<Volume>,
) -> Result<f64> {
    let begun = Instant::now();
    let calls = names.iter().map(|name| {
        let mut client = controller.client.controller.clone();
        let request = support::create(name, &PARAMETERS);
        async move { Ok(client.create_volume(request).await?.into_inner().volume) }
    });
    volumes.extend(limited(calls, at_once).await?.into_iter().flatten());
    Ok(rate(names.len(), begun))
}

/// Runs calls, `at_once` at the same time.
async fn limited<T: Send + 'static>(
    calls: impl Iterator<Item = impl Future<Output = Result<T>> + Send + 'static>,
    at_once: usize,
) -> Result<Vec<T>> {
    let (mut tasks, mut answers) = (JoinSet::new(), Vec::new());
    for call in calls {
        if tasks.len() >= at_once {
            answers.extend(tasks.join_next().await.transpose()?.transpose()?);
        }
        tasks.spawn(call);
    }
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer??);
    }
    Ok(answers)
}

/// Makes and removes directories on the share, and returns how many were made in a second.
fn make_directories(root: &Path, threads: usize, count: usize) -> Result<f64> {
    let begun = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let one = |thread: usize| {
            move || {
                (thread..count)
                    .step_by(threads)
                    .try_for_each(|number| std::fs::create_dir(root.join(format!("floor-{number}"))))
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(one(thread))).collect();
        for thread in running {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })?;
    let rate = rate(count, begun);
    // On the server's own file system, where it costs no round trip.
    for number in 0..count {
        std::fs::remove_dir(Path::new(EXPORTED).join(format!("floor-{number}")))?;
    }
    Ok(rate)
}

fn mount_share() -> Result<PathBuf> {
    let root = PathBuf::from(MOUNT);
    std::fs::create_dir_all(&root)?;
    let source = format!("{SERVER}:{SHARE}");
    // Without lookup cache: directories of the same name are made and removed on the server.
    let options = Some("vers=4.2,addr=127.0.0.1,lookupcache=none");
    mount(Some(source.as_str()), &root, Some("nfs4"), MsFlags::empty(), options)?;
    Ok(root)
}

#[expect(clippy::disallowed_methods, reason = "the floor is the system call itself")]
fn unmount(place: &Path) -> Result<()> {
    Ok(nix::mount::umount2(place, MntFlags::UMOUNT_NOFOLLOW)?)
}

#[expect(clippy::cast_precision_loss, reason = "a count of calls")]
fn rate(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

fn per_second(rate: f64) -> String {
    format!("{rate:.1}")
}
