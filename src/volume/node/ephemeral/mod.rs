//! Volumes that live and die with a pod (`csi:` volumes in a pod's own definition).
//!
//! A tenant writes their attributes, so they choose no directory and no options: each gets a directory of its own in the
//! state directory, named after the handle that kubelet made up for it.
//!
//! The node keeps a note of each on a local disk ([`notes`]), from before the directory is made until after it is removed. So an
//! unpublish needs no server: it unmounts the volume and marks its note. A thread for each export ([`keeper`]) removes
//! such volumes as soon as the server answers, and gives the signs of life of this node as long as it has a volume there.

mod keeper;
mod notes;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use parking_lot::Mutex;

use crate::linux::Dir;
use crate::linux::mountinfo::Mount;

use crate::volume::error::{Error, Result};
use crate::volume::name::export::{Export, ExportRef};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::STATE_DIR;
use crate::volume::policy::parameters::DEFAULT_MODE;
use crate::volume::policy::settings::LiveSettings;
use crate::volume::share::mounts::{Exports, MountedExport};
use crate::volume::share::nodes::NodeFolder;

use notes::{Note, Notes};

/// The ephemeral volumes of this node.
pub(in crate::volume) struct EphemeralVolumes {
    notes: Notes,
    /// Volumes that a publish or a keeper works on.
    busy: Mutex<HashSet<VolumeKey>>,
    keepers: Mutex<HashMap<ExportRef, Sender<()>>>,
    settings: Arc<LiveSettings>,
    exports: Arc<Exports>,
}

/// The exclusive right to work on one volume.
struct Busy<'a> {
    volumes: &'a EphemeralVolumes,
    key: VolumeKey,
}

/// An ephemeral volume that is being published.
pub(super) struct Publishing<'a> {
    volumes: &'a Arc<EphemeralVolumes>,
    note: Note,
    busy: Option<Busy<'a>>,
}

impl EphemeralVolumes {
    /// The notes lie in the directory `dir`, which is made when it is needed. It must be on a local disk and outlast the process.
    pub(super) fn new(
        settings: Arc<LiveSettings>,
        exports: Arc<Exports>,
        dir: PathBuf,
        node_id: &str,
    ) -> Arc<Self> {
        let notes = Notes::new(dir, node_id);
        Arc::new(Self { notes, busy: Mutex::default(), keepers: Mutex::default(), settings, exports })
    }

    /// Continues with the volumes that an earlier process has published or has not removed yet.
    pub(super) fn resume(self: &Arc<Self>) -> Result<()> {
        let exports: HashSet<ExportRef> = self.notes.all()?.into_iter().map(|note| note.export).collect();
        for export in &exports {
            self.wake(export);
        }
        Ok(())
    }

    /// Begins a publish by writing the note of the volume.
    pub(super) fn begin<'a>(
        self: &'a Arc<Self>,
        volume_id: &str,
        export: &ExportRef,
        target: &Path,
    ) -> Result<Publishing<'a>> {
        let key = VolumeKey::of_name(volume_id);
        let busy = self.work_on(&key).ok_or_else(|| {
            Error::Busy(format!(
                "ephemeral volume {volume_id} is being published or removed just now; ask again"
            ))
        })?;
        let folder = match self.notes.read(&key)? {
            Some(note) => note.folder,
            None => self.notes.own_folder()?,
        };
        let note = Note {
            volume_id: volume_id.to_owned(),
            export: export.clone(),
            folder,
            target: target.to_owned(),
        };
        self.notes.write(&note)?;
        Ok(Publishing { volumes: self, note, busy: Some(busy) })
    }

    /// Writes the note of a volume that is mounted at a target and has none, because version 0.1.0 wrote no notes.
    pub(super) fn adopt(&self, volume_id: &str, target: &Path, mount: &Mount) -> Result<()> {
        let key = VolumeKey::of_name(volume_id);
        let Some((folder, export)) = location_of(mount, &key) else { return Ok(()) };
        if self.notes.read(&key)?.is_some() {
            return Ok(());
        }
        let export = self.settings.get().named(&export).unwrap_or(ExportRef::Inline(export));
        self.notes.write(&Note { volume_id: volume_id.to_owned(), export, folder, target: target.to_owned() })
    }

    /// Marks a volume as ended, if this is the target of an ephemeral volume. Its directory is removed in the background, by this
    /// process or the next one. This asks no server, and needs no space on the local disk.
    pub(super) fn end(self: &Arc<Self>, volume_id: &str, target: &Path) -> Result<()> {
        let key = VolumeKey::of_name(volume_id);
        match self.notes.read(&key)? {
            Some(note) if note.volume_id == volume_id && note.target == target => {
                self.notes.end(&key)?;
                self.wake(&note.export);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// `None`: something else works on the volume.
    fn work_on(&self, key: &VolumeKey) -> Option<Busy<'_>> {
        let is_free = self.busy.lock().insert(key.clone());
        is_free.then(|| Busy { volumes: self, key: key.clone() })
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.volumes.busy.lock().remove(&self.key);
    }
}

impl Publishing<'_> {
    /// Opens the directory of the volume, and makes it if this is its first publish.
    pub(super) fn open(&self, mounted: &MountedExport) -> Result<Dir> {
        let key = VolumeKey::of_name(&self.note.volume_id);
        mounted.state()?.open_ephemeral(&self.note.folder, &key, DEFAULT_MODE)
    }

    /// The publish was revoked by an unpublish, which may have been before the note was written.
    pub(super) fn revoked(&self) -> Result<()> {
        self.volumes.notes.end(&VolumeKey::of_name(&self.note.volume_id))
    }
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.busy = None;
        self.volumes.wake(&self.note.export);
    }
}

/// The path of an ephemeral volume that is mounted, below its share. If the mount is something else, a path that is no volume's.
pub(super) fn path_at(mount: Option<&Mount>, volume_id: &str) -> PathBuf {
    let key = VolumeKey::of_name(volume_id);
    let found = mount.and_then(|mount| location_of(mount, &key));
    found.map_or_else(|| Path::new(STATE_DIR).join(key.as_str()), |(folder, _)| folder.path_of(&key))
}

/// The folder and the export of an ephemeral volume, by the mount of one; `None` if the mount is something else.
fn location_of(mount: &Mount, key: &VolumeKey) -> Option<(NodeFolder, Export)> {
    let source = mount.source.to_str().filter(|_| mount.is_nfs())?;
    let (folder, share) = NodeFolder::of_path(source, key)?;
    // Of a share that is the server's root nothing is left but the server.
    let share = if share.ends_with(':') { format!("{share}/") } else { share.to_owned() };
    Some((folder, Export::parse(&share).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::MountTable;

    #[test]
    fn the_export_is_read_off_the_mount() {
        let line = "40 1 0:41 / /k/a rw - nfs4 10.0.0.5:/srv/.nfs-subdir-csi/ephemeral/csi-1 rw\n\
                    41 1 0:41 / /k/b rw - nfs4 [fd00::1]:/.nfs-subdir-csi/nodes/n.1/csi-2 rw\n\
                    42 1 0:41 / /k/c rw - nfs4 10.0.0.5:/srv/volume rw\n";
        let table = MountTable::parse(line.as_bytes());
        let export = |place: &str, id: &str| {
            let found = location_of(table.at(Path::new(place)).unwrap(), &VolumeKey::of_name(id))?;
            Some((String::from(found.0), found.1.to_string()))
        };
        assert_eq!(export("/k/a", "csi-1"), Some(("ephemeral".to_owned(), "10.0.0.5:/srv".to_owned())));
        assert_eq!(export("/k/b", "csi-2"), Some(("nodes/n.1".to_owned(), "[fd00::1]:/".to_owned())));
        assert_eq!(export("/k/a", "csi-2"), None);
        assert_eq!(export("/k/c", "volume"), None);
    }
}
