//! The commands for operators. Each works on the exports of the configuration, which it mounts in a namespace of its own, and prints a
//! table for people or JSON for programs. A command goes on with the other exports when one fails.

mod ask;
mod doctor;
mod exports;
mod orphans;
mod output;
mod pvs;
mod settings;
mod snapshots;
mod trash;
mod usage;
mod volumes;

use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use crate::cluster::ApiServer;
use crate::config::on_exports::OnExports;
use crate::config::operate::{OperateCommand, TrashCommand};
use crate::linux::mount::SysMounter;
use crate::linux::{Mounter, namespace};
use crate::volume::name::export::ExportRef;
use crate::volume::policy::settings::{LiveSettings, Settings};
use crate::volume::share::mounts::Exports;
use crate::volume::volumes::Volumes;

use settings::settings_of;

/// The exit code of `orphans` if it has found some, and of `doctor` if something is wrong.
const FOUND: u8 = 3;

/// What a command has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All that was asked for. Exit code 0.
    Done,
    /// It has found what it looked for. Exit code 3.
    Found,
    /// Some exports or entries failed, and standard error says why. Exit code 1.
    Failed,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Found => Self::from(FOUND),
            Outcome::Failed => Self::FAILURE,
        }
    }
}

/// Runs a command. The error is for the person at the terminal.
pub fn run(command: &OperateCommand) -> anyhow::Result<Outcome> {
    let done = match command {
        OperateCommand::Volumes(on) => volumes::list(&Session::begin(on)?),
        OperateCommand::Snapshots(on) => snapshots::list(&Session::begin(on)?),
        OperateCommand::Exports(on) => exports::list(&Session::begin(on)?),
        OperateCommand::Trash(TrashCommand::List(on)) => trash::list(&Session::begin(on)?),
        OperateCommand::Trash(TrashCommand::Restore(args)) => {
            trash::restore(&Session::begin(&args.on)?, args)
        }
        OperateCommand::Trash(TrashCommand::Empty(args)) => trash::empty(&Session::begin(&args.on)?, args),
        OperateCommand::Orphans(args) => orphans::run(&Session::begin(&args.on)?, args),
        OperateCommand::Usage(args) => usage::run(&Session::begin(&args.on)?, args),
        OperateCommand::Doctor(args) => {
            doctor::run(args).map(|usable| if usable { Outcome::Done } else { Outcome::Found })
        }
    };
    match done {
        // Whoever reads the output wants no more of it, as with `| head`.
        Err(error) if is_broken_pipe(&error) => Ok(Outcome::Done),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The exports that a command works on.
struct Session {
    volumes: Arc<Volumes>,
    exports: Vec<ExportRef>,
    json: bool,
}

impl Session {
    /// Reads the configuration, and prepares the process for mounts. Asks no server.
    fn begin(on: &OnExports) -> anyhow::Result<Self> {
        let settings = settings_of(on)?;
        let exports = if on.exports.is_empty() {
            settings.exports.keys().map(|name| ExportRef::Named(name.clone())).collect()
        } else {
            let resolve = |text: &String| -> anyhow::Result<_> {
                let export = ExportRef::parse(text)?;
                settings.resolve(&export)?;
                Ok(export)
            };
            on.exports.iter().map(resolve).collect::<anyhow::Result<Vec<_>>>()?
        };
        namespace::enter(&on.state_dir, None).context("create a mount namespace")?;
        crate::linux::clear_umask();
        let mounter: Arc<dyn Mounter> = Arc::new(SysMounter::new(on.state_dir.canonicalize()?));
        Ok(Self::of(settings, mounter, exports, on.json))
    }

    fn of(settings: Settings, mounter: Arc<dyn Mounter>, exports: Vec<ExportRef>, json: bool) -> Self {
        let volumes = Volumes {
            settings: Arc::new(LiveSettings::new(settings)),
            exports: Arc::new(Exports::new(mounter, Duration::from_mins(1))),
            copies: Arc::default(),
            claims: Arc::new(ApiServer::in_cluster()),
        };
        Self { volumes: Arc::new(volumes), exports, json }
    }

    /// Does `work` with each export. One that fails is named on standard error, and the others follow.
    fn each_export(&self, mut work: impl FnMut(&ExportRef) -> anyhow::Result<()>) -> anyhow::Result<Outcome> {
        if self.exports.is_empty() {
            bail!("there is no export: name one with --export, or a configuration file with --config");
        }
        let mut outcome = Outcome::Done;
        for export in &self.exports {
            match work(export) {
                Err(error) if is_broken_pipe(&error) => return Err(error),
                Err(error) => {
                    eprintln!("nfs-subdir-csi: export {export}: {}", crate::telemetry::chain(&error));
                    outcome = Outcome::Failed;
                }
                Ok(()) => {}
            }
        }
        Ok(outcome)
    }
}

/// Seconds since 1970, by the clock of this host.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long ago a time was, for a table. The clock of a server may be ahead.
fn ago(seconds: i64) -> String {
    crate::terminal::age(now().saturating_sub(u64::try_from(seconds).unwrap_or(0)))
}
