//! What a new volume is filled with, and the names of the copy jobs.

use serde::{Deserialize, Serialize};

use crate::volume::name::handle::VolumeHandle;
use crate::volume::name::snapshot_handle::GroupHandle;

/// What a new volume is filled with, named by its handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A snapshot.
    Snapshot(String),
    /// Another volume.
    Volume(String),
}

impl Source {
    /// The export that the handle begins with, as it is written there.
    #[must_use]
    pub fn export(&self) -> &str {
        let (Self::Snapshot(handle) | Self::Volume(handle)) = self;
        handle.split('#').next().unwrap_or(handle)
    }

    /// The name of a copy from this source in [`crate::volume::jobs::CopyJobs`].
    #[must_use]
    pub fn job_name(&self) -> String {
        match self {
            Self::Snapshot(handle) => format!("snapshot {handle}"),
            Self::Volume(handle) => format!("volume {handle}"),
        }
    }
}

/// The name of the copy job that fills this volume.
pub(in crate::volume) fn job_name(handle: &VolumeHandle) -> String {
    Source::Volume(handle.to_string()).job_name()
}

/// The name of the copy job that makes this group of snapshots.
pub(in crate::volume) fn job_name_of_group(handle: &GroupHandle) -> String {
    format!("group {handle}")
}
