//! Deletes a volume with many files, and compares with `rm -rf` of the same tree over a mount of the same export.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::common::{EXPORTED, SERVER, SHARE, Stage, in_trash, on_server};
use crate::driver::Running;
use crate::gauges::{Cost, forget_names, per_call};
use crate::verdict::Verdict;
use crate::{row, table};

const DIRS: usize = 100;
const FILES: usize = 1000;
const FLOOR_MOUNT: &str = "/run/bench-floor";

pub(crate) async fn run(stage: &Stage, verdict: &mut Verdict) -> Result<()> {
    println!("Deleting {} files in {DIRS} directories\n", DIRS * FILES);
    let mut controller = Running::controller(stage).await?;

    let volume = controller.create("many-files").await?.0;
    fill(&on_server(&volume))?;
    forget_names()?;
    let mut call = Duration::ZERO;
    let mut cost = Cost::new();
    let begun = Instant::now();
    cost.add(async {
        call = controller.delete(&volume).await?;
        while in_trash() > 0 {
            ensure!(begun.elapsed() < Duration::from_mins(5), "the trash is not empty after 5 minutes");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await?;
    let reaped = begun.elapsed();

    let tree = Path::new(EXPORTED).join("floor");
    fill(&tree)?;
    mount_floor()?;
    forget_names()?;
    let mut floor_cost = Cost::new();
    let mut floor = Duration::ZERO;
    floor_cost
        .add(async {
            let begun = Instant::now();
            let status = Command::new("rm").arg("-rf").arg(format!("{FLOOR_MOUNT}/floor")).status()?;
            floor = begun.elapsed();
            ensure!(status.success() && !tree.exists(), "rm -rf failed");
            Ok(())
        })
        .await?;
    Command::new("umount").arg(FLOOR_MOUNT).status()?;
    controller.stop().await?;

    let files = (DIRS * FILES) as u64;
    let rows = [
        row!("DeleteVolume answers after", format!("{:.1} ms", call.as_secs_f64() * 1e3), ""),
        row!(
            "the trash is empty after",
            format!("{:.1} s", reaped.as_secs_f64()),
            per_call(cost.requests(), files)
        ),
        row!(
            "rm -rf of the same tree",
            format!("{:.1} s", floor.as_secs_f64()),
            per_call(floor_cost.requests(), files)
        ),
    ];
    table::print(&["", "time", "NFS requests a file"], &rows);
    println!();
    verdict.say(reaped <= floor.mul_f64(1.2), "emptying the trash takes at most 1.2 times as long as rm -rf");
    verdict.count(call < reaped / 10, "DeleteVolume does not wait for the removal of the files");
    Ok(())
}

/// Creates the tree on the server's own file system.
fn fill(top: &Path) -> Result<()> {
    for dir in 0..DIRS {
        let dir = top.join(dir.to_string());
        std::fs::create_dir_all(&dir)?;
        for file in 0..FILES {
            std::fs::File::create(dir.join(file.to_string())).with_context(|| dir.display().to_string())?;
        }
    }
    Ok(())
}

fn mount_floor() -> Result<()> {
    std::fs::create_dir_all(FLOOR_MOUNT)?;
    let source = format!("{SERVER}:{SHARE}");
    let mut mount = Command::new("mount");
    mount.args(["-i", "-t", "nfs4", "-o", "vers=4.2,addr=127.0.0.1", &source, FLOOR_MOUNT]);

    ensure!(mount.status()?.success(), "mounting {source} failed");
    Ok(())
}
