//! The arguments of the command `quota`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::{LogArgs, seconds_above_zero};
use crate::volume::share::quota::Mode;

/// The arguments of `quota`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QuotaArgs {
    /// `quota check` or `quota status`; without one the agent runs.
    #[command(subcommand)]
    pub command: Option<QuotaCommand>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub agent: AgentArgs,
}

/// What else `quota` can do.
#[derive(Debug, Clone, Subcommand)]
pub enum QuotaCommand {
    /// Say whether the file system of a directory can limit volumes, and if not, what to change
    Check {
        /// The directory that is exported, or any directory on its file system
        path: PathBuf,
    },
    /// Show the volumes of shares with their limits, their usage and their state
    Status {
        /// The directory that is exported
        #[arg(long = "share", required = true, value_name = "PATH[=SHARE]")]
        shares: Vec<LocalShare>,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// The arguments of the agent.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// The directory that is exported; several must be on one file system. SHARE is its name in messages
    #[arg(long = "share", env = "QUOTA_SHARES", value_delimiter = ',', value_name = "PATH[=SHARE]")]
    pub shares: Vec<LocalShare>,

    /// `observe` counts what volumes use; `enforce` also limits them to their sizes
    #[arg(long, env = "QUOTA_MODE", value_enum, default_value = "enforce")]
    pub mode: Mode,

    /// Also limit volumes that use more than their size already; their pods cannot write until files are removed
    #[arg(long, env = "QUOTA_LIMIT_OVER")]
    pub limit_over: bool,

    /// Look at all volumes once and end, for cron
    #[arg(long)]
    pub once: bool,

    /// How often usage is written and all volumes are looked at. New volumes and changed sizes are noticed at once
    #[arg(long, env = "QUOTA_INTERVAL", default_value = "30", value_name = "SECONDS", value_parser = seconds_above_zero)]
    pub interval: Duration,

    /// The project ids that belong to the agent; no other project is ever changed
    #[arg(long, env = "QUOTA_PROJECTS", default_value = "1500000000-1999999999", value_name = "FIRST-LAST")]
    pub projects: ProjectRange,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub log: LogArgs,
}

/// A directory that is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalShare {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// Its name in messages.
    pub name: String,
}

impl FromStr for LocalShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, name) = text.split_once('=').unwrap_or((text, text));
        if !path.starts_with('/') {
            return Err("the path of the exported directory must be absolute".to_owned());
        }
        Ok(Self { path: path.into(), name: name.to_owned() })
    }
}

/// Project ids, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectRange {
    /// The first one, at least 1.
    pub first: u32,
    /// The last one.
    pub last: u32,
}

impl ProjectRange {
    /// Whether an id is one of these.
    #[must_use]
    pub fn contains(self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }

    /// All ids but the last one, and the last one.
    #[must_use]
    pub fn without_last(self) -> (Self, u32) {
        (Self { last: self.last - 1, ..self }, self.last)
    }
}

impl FromStr for ProjectRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.split_once('-').and_then(|(first, last)| {
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            Some(Self { first, last }).filter(|range| range.first < range.last)
        });
        // 0 stands for no project, and the kernel's largest id stands for an error.
        range.filter(|range| range.first > 0 && range.last < u32::MAX).ok_or_else(|| {
            "it must be two different numbers such as 1500000000-1999999999, at least 1".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cli, Command};
    use clap::Parser;

    #[test]
    fn shares_and_ranges_are_checked() {
        let share: LocalShare = "/srv/k8s=nas:/k8s".parse().unwrap();
        assert_eq!((share.path.to_str().unwrap(), share.name.as_str()), ("/srv/k8s", "nas:/k8s"));
        assert!("srv".parse::<LocalShare>().is_err());
        let range: ProjectRange = "5-7".parse().unwrap();
        assert_eq!([4, 5, 7, 8].map(|id| range.contains(id)), [false, true, true, false]);
        for text in ["", "5", "5-5", "7-5", "0-5", "a-b", "1-4294967295", "-1-5"] {
            assert!(text.parse::<ProjectRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_agent_needs_no_word_and_the_other_commands_do() {
        let parse = |args: &[&str]| {
            let parsed = Cli::try_parse_from([&["nfs-subdir-csi", "quota"], args].concat()).unwrap();
            let Command::Quota(args) = parsed.command else { panic!("another command") };
            args
        };
        let agent = parse(&["--share", "/a", "--share", "/b=x", "--mode", "observe"]);
        assert!(agent.command.is_none() && agent.agent.shares.len() == 2);
        assert_eq!(agent.agent.mode, Mode::Observe);
        assert!(matches!(parse(&["check", "/a"]).command, Some(QuotaCommand::Check { .. })));
        assert!(matches!(
            parse(&["status", "--share", "/a", "--json"]).command,
            Some(QuotaCommand::Status { json: true, .. })
        ));
    }
}
