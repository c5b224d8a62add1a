//! Publishing a whole share, as csi-driver-nfs does for `server` and `share` without `subDir`.
//!
//! Only a PersistentVolume can ask for it, and only for a share that the administrator has listed. Such a volume has no record and no directory
//! that belongs to it, so no call ever deletes it.

use crate::linux::Dir;

use crate::volume::error::{Error, Result};
use crate::volume::name::sub_dir::STATE_DIR;
use crate::volume::policy::settings::{ResolvedExport, Settings};

/// Fails if the administrator has not listed the share.
pub(in crate::volume) fn require_listed(settings: &Settings, export: &ResolvedExport) -> Result<()> {
    if settings.is_whole_share(export) {
        return Ok(());
    }
    Err(Error::Precondition(format!(
        "the volume attributes have no `subDir`, so the volume would be all of {}: name a directory with `subDir`, or list the \
         share under wholeShares in the driver's configuration",
        export.id
    )))
}

/// Fails if the share can be published as a whole, because then no volume can be created on it.
pub fn refuse_volumes_on(settings: &Settings, export: &ResolvedExport) -> Result<()> {
    if !settings.is_whole_share(export) {
        return Ok(());
    }
    Err(Error::Precondition(format!(
        "no volume can be made on {}: wholeShares in the driver's configuration lists it, so that a pod could see the volume \
         and the state directory; export a directory of the share by itself and use that one for volumes, or take the share \
         out of wholeShares",
        export.id
    )))
}

/// Opens a share so that it can be bind-mounted. A share with a state directory is refused, because a pod that runs as root could read and
/// change the records of all volumes there. NFS requests: GETATTR and LOOKUP.
pub(in crate::volume) fn open(share: &Dir) -> Result<Dir> {
    if share.fresh_entry(STATE_DIR)?.is_some() {
        return Err(Error::Precondition(format!(
            "{} cannot be published itself, because volumes are made on it: {STATE_DIR} holds their records, and a pod could \
             change these; name a directory with `subDir`, or export the directory that the pod needs by itself",
            share.label()
        )));
    }
    Ok(share.open_place(".")?)
}
