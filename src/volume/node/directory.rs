//! Which directory of an export a publish is about.

use std::path::PathBuf;

use crate::linux::Dir;
use crate::linux::mountinfo::Mount;

use crate::volume::error::{Error, Result, refuse_unsafe};
use crate::volume::name::sub_dir::SubDir;
use crate::volume::node::ephemeral::{self, Publishing};
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::whole_share;

/// Which directory of an export a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// The one at this path.
    At(SubDir),
    /// The share itself.
    Share,
    /// The one at this path, mounted by itself, because the server may not let nodes mount the share.
    Direct(SubDir),
    /// One that is created for a pod. The text is the handle that kubelet gave the volume.
    Ephemeral(String),
}

impl Directory {
    /// Its path below the share. Of an ephemeral volume, the path that is mounted at its target, since a node may have had another
    /// folder when the volume was published.
    pub(super) fn path(&self, at_target: Option<&Mount>) -> PathBuf {
        match self {
            Self::At(sub_dir) | Self::Direct(sub_dir) => PathBuf::from(sub_dir.as_str()),
            Self::Share => PathBuf::new(),
            Self::Ephemeral(volume_id) => ephemeral::path_at(at_target, volume_id),
        }
    }

    /// Opens it as a place to bind. An ephemeral volume is made if it is not there.
    pub(super) fn open(&self, mounted: &MountedExport, ephemeral: Option<&Publishing<'_>>) -> Result<Dir> {
        match (self, ephemeral) {
            (Self::At(sub_dir) | Self::Direct(sub_dir), _) => open_volume(mounted, sub_dir),
            (Self::Share, _) => whole_share::open(mounted.share()),
            (Self::Ephemeral(_), Some(ephemeral)) => ephemeral.open(mounted),
            (Self::Ephemeral(_), None) => Err(Error::Missing("the note of an ephemeral volume")),
        }
    }
}

fn open_volume(mounted: &MountedExport, sub_dir: &SubDir) -> Result<Dir> {
    mounted.share().open_place(sub_dir).map_err(|error| {
        if error.is_not_found() {
            let path = error.path;
            return Error::NotFound(format!("{path}: the volume's directory does not exist on the server"));
        }
        refuse_unsafe(error)
    })
}
