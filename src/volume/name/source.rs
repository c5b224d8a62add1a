//! What a new volume is filled with, and the names of the copying jobs.

use serde::{Deserialize, Serialize};

use crate::volume::name::handle::VolumeHandle;
use crate::volume::name::snapshot_handle::GroupHandle;

/// What a new volume is to be filled with, by handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A snapshot.
    Snapshot(String),
    /// Another volume.
    Volume(String),
}

impl Source {
    /// What a copy from it is called in [`crate::volume::jobs::CopyJobs`].
    #[must_use]
    pub fn job_name(&self) -> String {
        match self {
            Self::Snapshot(handle) => format!("snapshot {handle}"),
            Self::Volume(handle) => format!("volume {handle}"),
        }
    }
}

/// What the filling of a volume is called among the copies under way.
pub(in crate::volume) fn job_name(handle: &VolumeHandle) -> String {
    Source::Volume(handle.to_string()).job_name()
}

pub(in crate::volume) fn job_name_of_group(handle: &GroupHandle) -> String {
    format!("group {handle}")
}
