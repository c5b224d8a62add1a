//! The commands for operators: lists of what lies on the exports, and what can be done with it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::doctor::DoctorArgs;
use super::on_exports::OnExports;

/// The commands for operators.
#[derive(Debug, Clone, Subcommand)]
pub enum OperateCommand {
    /// List the volumes: handle, directory, capacity, what happens on deletion, age
    Volumes(OnExports),
    /// List the snapshots: handle, volume, size, age
    Snapshots(OnExports),
    /// List the exports: whether they answer, their space, and what lies on them
    Exports(OnExports),
    /// List, restore or remove what was deleted and is still kept
    #[command(subcommand)]
    Trash(TrashCommand),
    /// List records without directory, directories without record, and volumes that no PersistentVolume uses
    Orphans(OrphansArgs),
    /// Count the files and bytes of a volume
    Usage(UsageArgs),
    /// Find out what is wrong with an export: from the name of its server to the time that its operations take
    Doctor(DoctorArgs),
}

/// What can be done with deleted volumes and snapshots.
#[derive(Debug, Clone, Subcommand)]
pub enum TrashCommand {
    /// List what was deleted: name, export, when it was deleted, and when it will be removed
    List(OnExports),
    /// Make a deleted volume a volume again, with the policy `retain`, and print a PersistentVolume for it
    Restore(RestoreArgs),
    /// Remove deleted volumes and snapshots now, for ever
    Empty(EmptyArgs),
}

/// The arguments of `trash restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub on: OnExports,

    /// The name in the list of the trash
    pub name: String,

    /// The directory that it gets on the share; by default the key of the volume
    #[arg(long, value_name = "PATH")]
    pub directory: Option<String>,

    /// The capacity that the record and the PersistentVolume get, such as 10Gi
    #[arg(long, value_name = "QUANTITY", default_value = "1Gi")]
    pub capacity: String,

    /// The name of the driver, for the PersistentVolume
    #[arg(long, env = "DRIVER_NAME", default_value = "nfs-subdir.csi.dev", value_name = "NAME")]
    pub driver_name: String,
}

/// The arguments of `trash empty`.
#[derive(Debug, Clone, Args)]
pub struct EmptyArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub on: OnExports,

    /// The names in the list of the trash; without any, everything
    pub names: Vec<String>,

    /// Remove only what was deleted so long ago, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub older_than: Option<Duration>,

    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// The arguments of `orphans`.
#[derive(Debug, Clone, Args)]
pub struct OrphansArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub on: OnExports,

    /// The PersistentVolumes of the cluster, to list also the volumes that none of them uses: the output of
    /// `kubectl get pv -o json`, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub pvs: Option<PathBuf>,

    /// Delete the volumes of this installation that no PersistentVolume uses, each as its record says
    #[arg(long, requires = "pvs")]
    pub delete: bool,

    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// The arguments of `usage`.
#[derive(Debug, Clone, Args)]
pub struct UsageArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub on: OnExports,

    /// The handle of the volume, as the list of the volumes has it
    pub handle: String,

    /// The most entries that are looked at in a second
    #[arg(long, default_value_t = 10_000, value_name = "ENTRIES", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
}
