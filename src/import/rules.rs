//! What the operator wants of an import, and what can become of a PersistentVolume.

use crate::volume::name::export::{Export, ExportRef};
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::name::sub_dir::SubDir;
use crate::volume::on_delete::OnDelete;
use crate::volume::share::record::Record;

/// What the operator wants.
pub(super) struct Rules {
    /// Where the volumes lie.
    pub(super) export: Export,
    /// How their handles name that.
    pub(super) id: ExportRef,
    /// The CSI driver whose volumes are taken.
    pub(super) from_driver: String,
    /// Policy of volumes whose handle has none.
    pub(super) on_delete: OnDelete,
}

/// A volume as it would be here.
pub(super) struct Candidate {
    pub(super) key: VolumeKey,
    pub(super) handle: VolumeHandle,
    pub(super) record: Record,
    /// `mountOptions` of the old `volumeAttributes`.
    pub(super) mount_options: Option<String>,
}

/// What becomes of a PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// A record is to be written.
    Import,
    /// A record has been written.
    Imported,
    /// A record was there.
    AlreadyImported,
    /// This driver has worked on it under the handle of csi-driver-nfs, and keeps a record of it under that.
    KnownByOldHandle,
    /// It is none of ours.
    NotOurs(String),
    /// It is, but cannot be taken.
    Conflict(String),
}

impl Decision {
    /// Whether a PersistentVolume of this driver belongs to it.
    pub(super) fn has_manifest(&self) -> bool {
        matches!(self, Self::Import | Self::Imported | Self::AlreadyImported)
    }
}

/// A directory below the share.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sub_dir: SubDir,
    /// What the old handle says of its end.
    pub(super) on_delete: Option<OnDelete>,
    /// `mountOptions` of the old `volumeAttributes`.
    pub(super) mount_options: Option<String>,
}
