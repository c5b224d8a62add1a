//! The command line of `doctor`.

use std::path::PathBuf;

use clap::Args;

/// The arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// The configuration file of the driver; without --export or --server, all exports in it are examined
    #[arg(long, env = "CONFIG_FILE", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Examine only this export: a name of the configuration, or server:/share; can be repeated
    #[arg(long = "export", value_name = "EXPORT")]
    pub exports: Vec<String>,

    /// Examine the share of this server; the configuration need not allow it
    #[arg(long, requires = "share", conflicts_with = "exports")]
    pub server: Option<String>,

    /// The share of --server
    #[arg(long, requires = "server")]
    pub share: Option<String>,

    /// Further options to mount the export with, as in a StorageClass
    #[arg(long, value_delimiter = ',', value_name = "OPTIONS")]
    pub mount_options: Vec<String>,

    /// A directory in which the exports are mounted
    #[arg(long, env = "STATE_DIR", default_value = "/run/nfs-subdir-csi", value_name = "DIR")]
    pub state_dir: PathBuf,

    /// Print one JSON object in each line, for programs
    #[arg(long)]
    pub json: bool,
}
