//! What the operator wants from an import, and what can happen to a PersistentVolume.

use crate::volume::name::export::{Export, ExportRef};
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::name::sub_dir::SubDir;
use crate::volume::on_delete::OnDelete;
use crate::volume::share::record::Record;

/// What the operator wants from an import.
pub(super) struct Rules {
    /// The export that contains the volumes.
    pub(super) export: Export,
    /// How the new handles name the export.
    pub(super) id: ExportRef,
    /// The CSI driver whose volumes are imported.
    pub(super) from_driver: String,
    /// The policy of volumes whose old handle names none.
    pub(super) on_delete: OnDelete,
}

/// The volume of this driver that a PersistentVolume would become.
pub(super) struct Candidate {
    pub(super) key: VolumeKey,
    pub(super) handle: VolumeHandle,
    pub(super) record: Record,
    /// `mountOptions` of the old `volumeAttributes`.
    pub(super) mount_options: Option<String>,
}

/// What happens to a PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// A record will be written.
    Import,
    /// A record has been written.
    Imported,
    /// A record of it exists already.
    AlreadyImported,
    /// This driver has a record of it under its old handle, the one of csi-driver-nfs.
    KnownByOldHandle,
    /// It is not a volume that can be imported, and stays as it is.
    NotOurs(String),
    /// It should be imported, but cannot be.
    Conflict(String),
}

impl Decision {
    /// Whether the report contains a new PersistentVolume for it.
    pub(super) fn has_manifest(&self) -> bool {
        matches!(self, Self::Import | Self::Imported | Self::AlreadyImported)
    }
}

/// A directory below the share.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sub_dir: SubDir,
    /// The policy in the old handle.
    pub(super) on_delete: Option<OnDelete>,
    /// `mountOptions` of the old `volumeAttributes`.
    pub(super) mount_options: Option<String>,
}
