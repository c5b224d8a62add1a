//! The command line of `doctor`.

use clap::Args;

use super::on_exports::OnExports;

/// The arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub on: OnExports,

    /// Examine the share of this server; the configuration need not allow it
    #[arg(long, requires = "share", conflicts_with = "exports")]
    pub server: Option<String>,

    /// The share of --server
    #[arg(long, requires = "server")]
    pub share: Option<String>,

    /// Further options to mount the export with, as in a StorageClass
    #[arg(long, value_delimiter = ',', value_name = "OPTIONS")]
    pub mount_options: Vec<String>,
}
