//! Values of flags that several commands have.

use std::time::Duration;

use clap::{Args, ValueEnum};

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a person at a terminal.
    Human,
    /// One JSON object in each line.
    Json,
}

/// The arguments of whatever writes a log.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// The form of the log
    #[arg(long, env = "LOG_FORMAT", default_value = "human", value_enum)]
    pub log_format: LogFormat,

    /// The least level that is logged (error, warn, info, debug or trace), or a filter such as info,nfs_subdir_csi=debug
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<u32>().map_err(|_| "it must be a whole number of seconds".to_owned())?;
    Ok(Duration::from_secs(number.into()))
}

pub(super) fn seconds_above_zero(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|time| if time.is_zero() { Err("at least 1".to_owned()) } else { Ok(time) })
}
