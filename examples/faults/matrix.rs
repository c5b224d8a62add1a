//! All faults at all moments.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cell::{self, Cell};
use crate::fault::{Fault, Moment};
use crate::report;
use crate::world::{Version, World};

/// Tries these faults at every moment, or all faults if none is named. `FAULT@MOMENT` stands for one moment. Returns whether
/// everything is as promised.
pub(crate) async fn run(driver: &Path, version: Version, named: &[&str]) -> Result<bool> {
    let begun = Instant::now();
    let mut world = World::make(driver, version)?;
    world.start().await?;
    println!("NFS {}: the guests are ready after {:.1} s", version.name(), begun.elapsed().as_secs_f64());
    cell::warm_up(&world).await.context("before the first fault")?;
    let mut cells: Vec<Cell> = Vec::new();
    let mut passed = true;
    let is_wanted = |fault: Fault, moment: Moment| {
        let both = format!("{}@{}", fault.name(), moment.name());
        named.is_empty() || named.iter().any(|name| *name == fault.name() || *name == both)
    };
    for fault in Fault::ALL {
        for moment in Moment::ALL.into_iter().filter(|moment| is_wanted(fault, *moment)) {
            if fault.impossible(version).is_some() {
                continue;
            }
            let start = Instant::now();
            let cell = cell::run(&mut world, cells.len(), fault, moment)
                .await
                .with_context(|| format!("{} {}\n{}", fault.name(), moment.name(), World::logs()))?;
            passed &= report::print(&cell, start.elapsed());
            // What one cell has left must not fail the next one.
            if fault == Fault::OtherFsid || !cell.failures.is_empty() {
                world.end("-KILL").await?;
                cell::clear_by_force(fault)?;
                world.start().await?;
            }
            cells.push(cell);
        }
    }
    passed &= report::summary(version, &cells, begun.elapsed(), named.is_empty());
    world.end("-KILL").await?;
    Ok(passed)
}
