//! The command `quota`: an agent beside the NFS server, which limits volumes to their sizes with project quotas of the server's file system.
//!
//! ```text
//! check    what a file system can do, and what to change            check.rs
//! status   a table of volumes, limits and usage                     status.rs
//! agent    waits for changes, gives signs of life                    agent.rs
//!          looks at all volumes regularly                            pass.rs
//!          what it does with one volume                              volume.rs
//!          a share, and how its changes are noticed                  share.rs
//!          which project ids are in use                              ids.rs
//!          giving a directory with content to a project              tagging.rs
//! ```
//! The export is the only channel: the agent reads the records that the driver writes, and writes reports that the driver reads. Everything on the
//! share can be forged by a root client. So the agent goes only to directories that a record and its claim name, by handles below the
//! share, changes nothing but project ids, their flag and limits, and uses project ids of its own range only.

mod agent;
mod check;
mod counts;
mod event;
mod ids;
mod pass;
mod share;
mod status;
mod tagging;
mod volume;

use crate::config::quota::{QuotaArgs, QuotaCommand};
use crate::telemetry;

/// Runs the command. The error is for the person at the terminal.
pub fn run(args: &QuotaArgs) -> anyhow::Result<()> {
    match &args.command {
        Some(QuotaCommand::Check { path }) => check::run(path),
        Some(QuotaCommand::Status { shares, json }) => status::run(shares, *json),
        None => {
            telemetry::start(args.agent.log.log_format, &args.agent.log.log_level)?;
            agent::run(&args.agent)
        }
    }
}
