//! NFS requests and new tasks for each call. They do not depend on the speed of the machine.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::common::{self, Stage};
use crate::driver::{Running, target, volumes};
use crate::gauges::{Cost, forget_names, per_call};
use crate::stopped::Stopped;
use crate::verdict::Verdict;
use crate::{row, table};

const WARM: usize = 50;
const COLD: usize = 10;
/// Requests and tasks of csi-driver-nfs for the same call, measured in the same kind of guest.
type Peer = Option<(u64, u64)>;
type Line = (&'static str, Cost, Peer);

/// Requests for CreateVolume before it answers, and with what is done afterwards.
const CREATE: (u64, u64) = (9, 13);
/// Requests for DeleteVolume before it answers.
const DELETE: u64 = 7;
const PUBLISH: u64 = 2;

const CREATE_VOLUME: &str = "CreateVolume, before the answer";
const AFTER_CREATE: &str = "  after the answer";
const PUBLISH_NEW: &str = "NodePublishVolume, new to the node";
const PUBLISH_SECOND: &str = "NodePublishVolume, second pod";
const DELETE_VOLUME: &str = "DeleteVolume, before the answer";
const AFTER_DELETE: &str = "  after its answer";
const FORGOTTEN: &str = "DeleteVolume, names to be looked up";

/// Counts, prints the table, and compares with the targets.
pub(crate) async fn run(stage: &Stage, verdict: &mut Verdict) -> Result<()> {
    let warm = warm(stage).await?;
    let cold = cold(stage).await?;
    println!(
        "NFS requests and tasks for each call: NFS 4.2, mean of {WARM} calls ({COLD} of the cold ones)."
    );
    println!("A task is a process or a thread, including those of the kernel. The whole guest is counted.\n");
    let mut rows = vec![row!["export mounted"]];
    rows.extend(warm.iter().map(row_of));
    rows.push(row!["export not mounted: first call of a service"]);
    rows.extend(cold.iter().map(row_of));
    table::print(&["", "requests", "tasks", "csi-driver-nfs: requests", "tasks"], &rows);
    println!(
        "\n  csi-driver-nfs (d3b27c0) was measured separately, in a guest like this with the same server. It mounts"
    );
    println!(
        "  and unmounts the share in each call. This driver renames a deleted directory during the call and"
    );
    println!("  removes it afterwards. In a cold call nearly all tasks belong to the kernel's NFS client.");

    println!("\nThe same requests by kind, for each call\n");
    for (name, cost, _) in warm.iter().chain(&cold) {
        table::print_list(name, &cost.kinds());
    }
    let workers: u64 = warm.iter().chain(&cold).map(|(_, cost, _)| cost.workers).sum();
    println!(
        "\n  Not counted: SEQUENCE, which a timer sends, and {workers} workers that the kernel started meanwhile.\n"
    );

    let mut limit = |what: &str, costs: &[&Cost], limit: u64| {
        let (sent, calls) = (costs.iter().map(|cost| cost.requests()).sum(), costs[0].calls);
        let requests = per_call(sent, calls);
        // A few requests belong to no call: SETATTR for the signs of life, and what the client asks when one of its caches has expired.
        let within = sent <= limit * calls + calls / 10;
        verdict.count(within, &format!("{what}: {requests} NFS requests (at most {limit})"));
    };
    let cost =
        |name: &str| warm.iter().find(|line| line.0 == name).map(|line| &line.1).context(name.to_owned());
    let (create, created) = (cost(CREATE_VOLUME)?, cost(AFTER_CREATE)?);
    limit("CreateVolume before the answer", &[create], CREATE.0);
    limit("CreateVolume with what is done afterwards", &[create, created], CREATE.1);
    limit("DeleteVolume before the answer", &[cost(DELETE_VOLUME)?], DELETE);
    for name in [PUBLISH_NEW, PUBLISH_SECOND] {
        limit(name, &[cost(name)?], PUBLISH);
    }
    let tasks: u64 = warm.iter().map(|(_, cost, _)| cost.tasks - cost.workers).sum();
    let calls: u64 = warm.iter().map(|(_, cost, _)| cost.calls).sum();
    verdict.count(tasks == 0, &format!("{tasks} tasks started in {calls} calls on a mounted export (none)"));
    Ok(())
}

fn row_of((name, cost, peer): &Line) -> Vec<String> {
    let tasks = per_call(cost.tasks - cost.workers, cost.calls);
    let (peer_requests, peer_tasks) = peer.map_or((String::new(), String::new()), |(requests, tasks)| {
        (requests.to_string(), tasks.to_string())
    });
    row![format!("  {name}"), per_call(cost.requests(), cost.calls), tasks, peer_requests, peer_tasks]
}

/// On an export that is mounted already.
async fn warm(stage: &Stage) -> Result<Vec<Line>> {
    let mut controller = Running::controller(stage).await?;
    let mut node = Running::node(stage).await?;
    let first = volumes(&mut controller, "first", 1).await?.remove(0);
    node.publish(&first, &target(stage, "first", 0)?).await?;

    // Without the thread that removes deleted directories, they stay in the trash, and only the calls themselves are counted.
    let reaper = Stopped::thread(&controller, "reaper")?;
    let mut made = Vec::new();
    let [mut create, mut created, mut deleted] = [const { Cost::new() }; 3];
    for number in 0..WARM {
        let afterwards = Stopped::thread(&controller, "afterwards")?;
        let call = async {
            made.push(controller.create(&format!("counted-{number}")).await?.0);
            Ok(())
        };
        create.add(call).await?;
        created.add(afterwards.goes_on()).await?;
    }
    let [mut new, mut known, mut stats, mut unpublish] = [const { Cost::new() }; 4];
    let [mut delete, mut forgotten] = [const { Cost::new() }; 2];
    for (number, volume) in made.iter().enumerate() {
        let targets = [target(stage, "one", number)?, target(stage, "two", number)?];
        forget_names()?;
        new.add(async { node.publish(volume, &targets[0]).await.map(drop) }).await?;
        known.add(async { node.publish(volume, &targets[1]).await.map(drop) }).await?;
        stats.add(async { node.stats(volume, &targets[0]).await.map(drop) }).await?;
        for target in &targets {
            unpublish.add(async { node.unpublish(volume, target).await.map(drop) }).await?;
        }
    }

    // The client has forgotten the names of these volumes, so it looks them up.
    for volume in &made {
        let afterwards = Stopped::thread(&controller, "afterwards")?;
        forgotten.add(async { controller.delete(volume).await.map(drop) }).await?;
        afterwards.goes_on().await?;
    }
    for number in 0..WARM {
        let volume = controller.create(&format!("known-{number}")).await?.0;
        let afterwards = Stopped::thread(&controller, "afterwards")?;
        delete.add(async { controller.delete(&volume).await.map(drop) }).await?;
        deleted.add(afterwards.goes_on()).await?;
    }
    let waiting = common::in_trash();
    ensure!(waiting == 2 * WARM, "only {waiting} of {} deleted directories are in the trash", 2 * WARM);
    // It dies with its reaper, so that this does not begin to remove them.
    reaper.dies_with(controller)?;
    let calls = delete.clone().plus(&deleted);
    let (mut controller, removal) = removal(stage, &calls).await?;

    node.unpublish(&first, &target(stage, "first", 0)?).await?;
    controller.delete(&first).await?;
    common::trash_emptied().await?;
    controller.stop().await?;
    node.stop().await?;
    Ok(vec![
        (CREATE_VOLUME, create, Some((12, 6))),
        (AFTER_CREATE, created, None),
        (PUBLISH_NEW, new, Some((9, 4))),
        (PUBLISH_SECOND, known, None),
        ("NodeGetVolumeStats", stats, Some((1, 0))),
        ("NodeUnpublishVolume", unpublish, Some((0, 2))),
        (DELETE_VOLUME, delete, Some((11, 6))),
        (AFTER_DELETE, deleted, None),
        (FORGOTTEN, forgotten, None),
        ("  its empty directory, afterwards", removal, None),
    ])
}

/// What it costs to remove the directories that an earlier controller has left in the trash. A new controller begins to
/// remove them when it creates its first volume, so they are put aside until only their removal is measured.
async fn removal(stage: &Stage, delete: &Cost) -> Result<(Running, Cost)> {
    let (trash, aside) =
        (Path::new(common::STATE_DIR).join("deleted"), Path::new(common::EXPORTED).join("aside"));
    std::fs::create_dir(&aside)?;
    move_all(&trash, &aside)?;
    let mut controller = Running::controller(stage).await?;
    let last = volumes(&mut controller, "last", 1).await?.remove(0);
    let mut all = Cost::new();
    let sweep = async {
        move_all(&aside, &trash)?;
        controller.delete(&last).await?;
        common::trash_emptied().await
    };
    all.add(sweep).await?;
    std::fs::remove_dir(&aside)?;
    let mut removal = all.minus(delete, 1);
    removal.calls = 2 * WARM as u64 + 1;
    Ok((controller, removal))
}

/// Moves all entries of one directory to another, on the server's own file system.
fn move_all(from: &Path, to: &Path) -> Result<()> {
    for entry in from.read_dir()? {
        let name = entry?.file_name();
        std::fs::rename(from.join(&name), to.join(&name))?;
    }
    Ok(())
}

/// The first call of a service that has just started, while no process has the export mounted.
async fn cold(stage: &Stage) -> Result<Vec<Line>> {
    let [mut create, mut publish, mut delete] = [const { Cost::new() }; 3];
    for number in 0..COLD {
        let mut controller = Running::controller(stage).await?;
        let mut volume = None;
        let call = async {
            volume = Some(controller.create(&format!("cold-{number}")).await?.0);
            Ok(())
        };
        create.add(call).await?;
        let volume = volume.context("no volume")?;
        controller.stop().await?;

        let mut node = Running::node(stage).await?;
        let target = target(stage, "cold", number)?;
        publish.add(async { node.publish(&volume, &target).await.map(drop) }).await?;
        node.unpublish(&volume, &target).await?;
        node.stop().await?;

        let mut controller = Running::controller(stage).await?;
        let call = async {
            controller.delete(&volume).await?;
            common::trash_emptied().await
        };
        delete.add(call).await?;
        controller.stop().await?;
    }
    Ok(vec![
        ("CreateVolume, cold", create, Some((20, 30))),
        ("NodePublishVolume, cold", publish, Some((16, 19))),
        ("DeleteVolume and directory, cold", delete, Some((20, 30))),
    ])
}
