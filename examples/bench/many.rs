//! Many volumes published at once.

use std::time::Instant;

use anyhow::Result;

use crate::common::{Stage, file_systems, nfs_mounts, trash_emptied};
use crate::driver::{self, Running};
use crate::gauges::Memory;
use crate::verdict::Verdict;

const VOLUMES: usize = 200;

pub(crate) async fn run(stage: &Stage, verdict: &mut Verdict) -> Result<()> {
    println!("{VOLUMES} volumes published at once\n");
    let mut controller = Running::controller(stage).await?;
    let mut node = Running::node(stage).await?;
    let volumes = driver::volumes(&mut controller, "many", VOLUMES).await?;
    let before = Memory::of(node.pid())?;
    let begun = Instant::now();
    let mut targets = Vec::new();
    for (number, volume) in volumes.iter().enumerate() {
        let target = driver::target(stage, "many", number)?;
        node.publish(volume, &target).await?;
        targets.push(target);
    }
    let published = begun.elapsed();
    let after = Memory::of(node.pid())?;
    let mounts = nfs_mounts(node.pid())?;
    let exports = mounts.len() - VOLUMES;
    println!("  published in {:.2} s", published.as_secs_f64());
    println!(
        "  NFS mounts {}: {exports} of the export, {VOLUMES} bind mounts; file systems {}",
        mounts.len(),
        file_systems(&mounts)
    );
    println!(
        "  node service: {} resident before, {} after\n",
        Memory::megabytes(before.resident),
        Memory::megabytes(after.resident)
    );
    verdict.count(
        exports == 1 && file_systems(&mounts) == 1,
        "200 published volumes need 1 NFS mount of the export",
    );
    for (volume, target) in volumes.iter().zip(&targets) {
        node.unpublish(volume, target).await?;
        controller.delete(volume).await?;
    }
    trash_emptied().await?;
    controller.stop().await?;
    node.stop().await
}
