//! Memory, start-up time and size.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nfs_subdir_csi::csi::proto;

use crate::common::{Stage, human, timed};
use crate::driver::Running;
use crate::gauges::Memory;
use crate::support::Client;
use crate::verdict::Verdict;
use crate::{row, table};

const STARTS: usize = 10;
const MEGABYTE: u64 = 1_000_000;

pub(crate) async fn run(stage: &Stage, verdict: &mut Verdict) -> Result<()> {
    println!("Idle memory, start-up, size\n");
    let mut rows = Vec::new();
    for role in ["controller", "node"] {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let mut command = stage.command(role)?;
            if role == "node" {
                command.env("NODE_ID", "node-1");
            }
            times.push(first_answer(command, role).await?);
            // The kernel needs this time to remove the mount namespace of the process before.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        times.sort();
        let running = if role == "controller" {
            Running::controller(stage).await?
        } else {
            Running::node(stage).await?
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        let memory = Memory::of(running.pid())?;
        running.stop().await?;
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        rows.push(row!(
            role,
            Memory::megabytes(memory.resident),
            Memory::megabytes(memory.anonymous),
            memory.threads,
            ms(times[STARTS / 2]),
            ms(times[0]),
        ));
        verdict.say(
            memory.resident * 1024 <= 8 * MEGABYTE,
            &format!("the idle {role}: {} resident (at most 8 MB)", Memory::megabytes(memory.resident)),
        );
    }
    table::print(&["", "resident", "anonymous", "threads", "exec to first Probe: p50", "fastest"], &rows);
    let size = stage.driver_size()?;
    println!("\n  the binary: {size} bytes ({})\n", human(size));
    verdict.say(size <= 8 * MEGABYTE, &format!("the binary: {size} bytes (at most 8 MB)"));
    Ok(())
}

/// A process that is killed when the value is dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The time from the start of the process to the answer to the first call. Tries to connect every millisecond.
async fn first_answer(mut command: Command, role: &str) -> Result<Duration> {
    let socket = format!("/run/csi/{role}-first.sock");
    let _ = std::fs::remove_file(&socket);
    command.arg(role).env("CSI_ENDPOINT", format!("unix://{socket}"));
    let begun = Instant::now();
    let _started = Started(command.spawn()?);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        ensure!(
            begun.elapsed() < Duration::from_secs(10),
            "the {role} service accepts no connection after 10 s"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut client = Client::connect(Path::new(&socket)).await;
    timed(client.identity.probe(proto::ProbeRequest {})).await?;
    Ok(begun.elapsed())
}
