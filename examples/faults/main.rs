//! Tries every call during every fault of the NFS server. It shows the answers, and checks that nothing is left afterwards.
//!
//! `target/release/examples/faults DRIVER VERSION PART [FAULT...]`, or `make faults`. VERSION is 4.2 or 3. PART is `matrix` or
//! `scenes`, which can be limited to some, or `soak SECONDS`. The program starts two guests on a network of their own: one for the driver and a healthy
//! server, and one for the server that fails. The exit status is 1 if an answer is not what docs/FAULTS.md promises.

mod agent;
mod calls;
mod cell;
mod clients;
mod expect;
mod fault;
mod healthy;
mod host;
mod matrix;
mod report;
mod round;
mod scenes;
mod soak;
#[path = "../../tests/support/mod.rs"]
mod support;
mod world;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the program in one of its roles. Returns whether everything is as promised.
fn run(args: &[&str]) -> Result<bool> {
    match args {
        // The program starts itself in these roles.
        ["--pair", driver, version, part @ ..] => host::pair(Path::new(driver), version, part),
        ["--server"] => agent::serve(),
        ["--guest", driver, version, part @ ..] => in_guest(Path::new(driver), version.parse()?, part),
        [driver, version, part @ ..] if !part.is_empty() => {
            let driver = Path::new(driver).canonicalize().with_context(|| (*driver).to_owned())?;
            host::in_own_network(&driver, version, part)
        }
        _ => bail!("usage: faults DRIVER 4.2|3 matrix [FAULT...] | scenes [SCENE...] | soak SECONDS"),
    }
}

fn in_guest(driver: &Path, version: world::Version, part: &[&str]) -> Result<bool> {
    // The calls and the measurement of the healthy export go on while this thread changes the network.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match part {
            ["matrix", faults @ ..] => matrix::run(driver, version, faults).await,
            ["soak", seconds] => soak::run(driver, version, seconds.parse()?).await,
            ["scenes", names @ ..] => scenes::run(driver, version, names).await,
            _ => bail!("no such part: {part:?}"),
        }
    })
}
