//! Memory, start-up time and size.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::common::{Stage, human};
use crate::driver::Running;
use crate::gauges::Memory;
use crate::verdict::Verdict;
use crate::{row, table};

const STARTS: usize = 5;
const MEGABYTE: u64 = 1_000_000;

pub(crate) async fn run(stage: &Stage, verdict: &mut Verdict) -> Result<()> {
    println!("Idle memory, start-up, size\n");
    let mut rows = Vec::new();
    for role in ["controller", "node"] {
        let mut times = Vec::new();
        let mut memory = None;
        for _ in 0..STARTS {
            let begun = Instant::now();
            let service = if role == "controller" { stage.controller() } else { stage.node() };
            times.push(begun.elapsed());
            drop(service);
        }
        let running = if role == "controller" {
            Running::controller(stage).await?
        } else {
            Running::node(stage).await?
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        memory.replace(Memory::of(running.pid())?);
        running.stop().await?;
        times.sort();
        let Some(memory) = memory else { continue };
        rows.push(row!(
            role,
            Memory::megabytes(memory.resident),
            Memory::megabytes(memory.anonymous),
            memory.threads,
            format!("{:.0} ms", times[STARTS / 2].as_secs_f64() * 1e3),
        ));
        verdict.say(
            memory.resident * 1024 <= 8 * MEGABYTE,
            &format!("the idle {role} service has at most 8 MB resident"),
        );
    }
    table::print(&["service", "resident", "anonymous", "threads", "exec to first connection"], &rows);
    let size = stage.driver_size()?;
    println!("\n  the binary: {size} bytes ({})\n", human(size));
    verdict.say(size <= 8 * MEGABYTE, "the binary has at most 8 MB");
    Ok(())
}
