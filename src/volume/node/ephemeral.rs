//! Ephemeral volumes, which exist as long as their pod (`csi:` volumes in the definition of a pod).
//!
//! A tenant writes their attributes, so the attributes cannot choose a directory or options. Each volume gets a new directory in the state
//! directory, with a name that is made from the handle that kubelet has given the volume.

use std::path::{Path, PathBuf};

use crate::linux::{Dir, mountinfo::Mount};

use crate::volume::error::{Result, explain_denied};
use crate::volume::name::export::Export;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::STATE_DIR;
use crate::volume::policy::parameters::DEFAULT_MODE;
use crate::volume::policy::settings::{ExportPolicy, ResolvedExport};
use crate::volume::share::mounts::MountedExport;

/// Their folder in the state directory.
const FOLDER: &str = "ephemeral";

/// Opens the directory of an ephemeral volume. Creates it at the first publish.
pub(in crate::volume) fn open(mounted: &MountedExport, volume_id: &str) -> Result<Dir> {
    let state = mounted.share().open_or_make_dir(STATE_DIR, 0o700).map_err(explain_denied)?;
    let folder = state.open_or_make_dir(FOLDER, 0o700).map_err(explain_denied)?;
    folder.open_or_make_dir(VolumeKey::of_name(volume_id).as_str(), DEFAULT_MODE).map_err(explain_denied)
}

/// The path of an ephemeral volume below the share.
pub(in crate::volume) fn path_of(volume_id: &str) -> PathBuf {
    Path::new(STATE_DIR).join(FOLDER).join(VolumeKey::of_name(volume_id).as_str())
}

/// The export of an ephemeral volume, read from its mount. Returns `None` if the mount is something else.
pub(in crate::volume) fn export_of(mount: &Mount, volume_id: &str) -> Option<ResolvedExport> {
    let source = mount.source.to_str().filter(|_| mount.is_nfs())?;
    let share = source.strip_suffix(path_of(volume_id).to_str()?)?.strip_suffix('/')?;
    // If the share is the root directory of the server, only the server is left.
    let share = if share.ends_with(':') { format!("{share}/") } else { share.to_owned() };
    Export::parse(&share).ok().map(ResolvedExport::mounted)
}

/// Deletes the directory of an ephemeral volume. It is done before the volume is unmounted: a
/// driver killed in between finds the mount on the retry, and nothing is forgotten on the server.
pub(in crate::volume) fn discard(mounted: &MountedExport, volume_id: &str) -> Result<()> {
    let state = mounted.state()?;
    let key = VolumeKey::of_name(volume_id);
    let folder = match mounted.share().open_dir(Path::new(STATE_DIR).join(FOLDER)) {
        Err(error) if error.is_not_found() => return Ok(()),
        result => result?,
    };
    // An ephemeral volume is removed at once, whatever is configured for the export.
    state.discard(&folder, key.as_str(), &key, ExportPolicy::default())?;
    mounted.reap(&state, None);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::MountTable;
    use std::path::Path as P;

    #[test]
    fn the_export_is_read_off_the_mount() {
        let line = "40 1 0:41 / /k/a rw - nfs4 10.0.0.5:/srv/.nfs-subdir-csi/ephemeral/csi-1 rw\n\
                    41 1 0:41 / /k/b rw - nfs4 [fd00::1]:/.nfs-subdir-csi/ephemeral/csi-2 rw\n\
                    42 1 0:41 / /k/c rw - nfs4 10.0.0.5:/srv/volume rw\n";
        let table = MountTable::parse(line.as_bytes());
        let export =
            |place: &str, id: &str| export_of(table.at(P::new(place)).unwrap(), id).map(|e| e.id.to_string());
        assert_eq!(export("/k/a", "csi-1").as_deref(), Some("10.0.0.5:/srv"));
        assert_eq!(export("/k/b", "csi-2").as_deref(), Some("[fd00::1]:/"));
        assert_eq!(export("/k/a", "csi-2"), None);
        assert_eq!(export("/k/c", "volume"), None);
    }
}
