//! The arguments that all commands for exports have.

use std::path::PathBuf;

use clap::Args;

/// Which exports a command works on, and how it answers.
#[derive(Debug, Clone, Args)]
pub struct OnExports {
    /// The configuration file of the driver; the exports in it are those that the command works on
    #[arg(long, env = "CONFIG_FILE", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Work only on this export: a name of the configuration, or server:/share; can be repeated
    #[arg(long = "export", value_name = "EXPORT")]
    pub exports: Vec<String>,

    /// A directory in which the exports are mounted
    #[arg(long, env = "STATE_DIR", default_value = "/run/nfs-subdir-csi", value_name = "DIR")]
    pub state_dir: PathBuf,

    /// Print one JSON object in each line, for programs
    #[arg(long)]
    pub json: bool,
}
