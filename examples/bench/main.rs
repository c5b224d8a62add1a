//! Measures the driver: NFS requests, tasks, times and memory, each beside what the kernel alone needs.
//!
//! `vm/run -m 6G -t 1800 -- target/release/examples/bench DRIVER [SECTION...]`, or `make bench`. Sections: counts, latency,
//! many, far, footprint, deletion, listing, copying; all of them without an argument. The exit status is 1 if a count misses its
//! target.

#[path = "../common/mod.rs"]
mod common;
mod copying;
mod counts;
mod deletion;
mod driver;
mod far;
mod footprint;
mod gauges;
mod latency;
mod listing;
mod many;
mod network;
mod stopped;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::Stage;
use verdict::Verdict;

fn main() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let driver = args.next().map(PathBuf::from).context("usage: bench DRIVER [SECTION...]")?;
    let chosen: Vec<String> = args.collect();
    let stage = Stage::set(&driver)?;
    // One thread only, because the measurement itself must not start a task.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut verdict = Verdict::default();
    let measured = runtime.block_on(measure(&stage, &chosen, &mut verdict));
    if let Err(error) = measured {
        println!("FAILED: {error:#}\n\n{}", stage.logs());
        return Ok(ExitCode::FAILURE);
    }
    Ok(if verdict.conclude() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(stage: &Stage, chosen: &[String], verdict: &mut Verdict) -> Result<()> {
    let wanted = |section: &str| chosen.is_empty() || chosen.iter().any(|name| name == section);
    if wanted("counts") {
        counts::run(stage, verdict).await?;
    }
    if wanted("latency") {
        latency::run(stage).await?;
    }
    if wanted("many") {
        many::run(stage, verdict).await?;
    }
    if wanted("far") {
        far::run(stage, verdict).await?;
    }
    if wanted("footprint") {
        footprint::run(stage, verdict).await?;
    }
    if wanted("deletion") {
        deletion::run(stage, verdict).await?;
    }
    if wanted("listing") {
        listing::run(stage).await?;
    }
    if wanted("copying") {
        copying::run(verdict).await?;
    }
    Ok(())
}
