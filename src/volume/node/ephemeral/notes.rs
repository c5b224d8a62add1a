//! What this node remembers of its ephemeral volumes: small files on a local disk.
//!
//! ```text
//! folder              where on a share this node makes its volumes
//! <key>.json          a volume that is published, or is being published
//! <key>.ended         a volume whose directory is to be removed
//! ```
//! A volume that has both is published: it was published again before it was removed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::linux::SysError;

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::nodes::NodeFolder;

/// The file with the name of this node's folder on shares.
const FOLDER: &str = "folder";
const LIVE: &str = "json";
const ENDED: &str = "ended";

/// What is remembered of one volume. A later version may add fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The handle that kubelet made up.
    pub(super) volume_id: String,
    /// The export, as the configuration names it. By server and share only if the configuration did not know the export.
    #[serde(serialize_with = "write_export", deserialize_with = "read_export")]
    pub(super) export: ExportRef,
    /// The folder of the state directory in which its directory is.
    pub(super) folder: NodeFolder,
    /// Where it is published, as kubelet has named it.
    pub(super) target: PathBuf,
}

impl Note {
    pub(super) fn key(&self) -> VolumeKey {
        VolumeKey::of_name(&self.volume_id)
    }
}

fn write_export<S: Serializer>(export: &ExportRef, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(export)
}

fn read_export<'de, D: Deserializer<'de>>(from: D) -> Result<ExportRef, D::Error> {
    ExportRef::parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// The notes of this node.
#[derive(Debug)]
pub(super) struct Notes {
    dir: PathBuf,
    node_id: String,
}

impl Notes {
    pub(super) fn new(dir: PathBuf, node_id: &str) -> Self {
        Self { dir, node_id: node_id.to_owned() }
    }

    /// The folder in which this node makes new volumes. The name is made once, and kept on the disk.
    pub(super) fn own_folder(&self) -> Result<NodeFolder> {
        let path = self.dir.join(FOLDER);
        for _ in 0..2 {
            match fs::read_to_string(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let folder = String::from(NodeFolder::of_new_node(&self.node_id));
                    // Another service of this node may have been faster.
                    match self.put(&path, folder.as_bytes(), |new| new.persist_noclobber(&path)) {
                        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                            return Err(failed("write", &path)(error));
                        }
                        _ => {}
                    }
                }
                text => return NodeFolder::try_from(text.map_err(failed("read", &path))?.trim().to_owned()),
            }
        }
        Err(failed("read", &path)(ErrorKind::NotFound.into()))
    }

    /// Notes that a volume is published. When this returns the note is on the disk.
    pub(super) fn write(&self, note: &Note) -> Result<()> {
        let (path, ended) = (self.path(&note.key(), LIVE), self.path(&note.key(), ENDED));
        let json = serde_json::to_vec(note).map_err(|e| Error::invalid("note", e.to_string()))?;
        self.put(&path, &json, |new| new.persist(&path)).map_err(failed("write", &path))?;
        remove_if_there(&ended)
    }

    /// Notes that a volume is to be removed. Has no effect if there is no note that it is published.
    pub(super) fn end(&self, key: &VolumeKey) -> Result<()> {
        let path = self.path(key, LIVE);
        match fs::rename(&path, self.path(key, ENDED)).and_then(|()| self.sync()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("rename", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Forgets a volume that was removed.
    pub(super) fn forget(&self, key: &VolumeKey) -> Result<()> {
        remove_if_there(&self.path(key, ENDED))
    }

    /// The note that a volume is published.
    pub(super) fn read(&self, key: &VolumeKey) -> Result<Option<Note>> {
        read(&self.path(key, LIVE))
    }

    /// The note that a volume is to be removed, unless it is published again.
    pub(super) fn read_ended(&self, key: &VolumeKey) -> Result<Option<Note>> {
        if self.read(key)?.is_some() { Ok(None) } else { read(&self.path(key, ENDED)) }
    }

    /// All notes. One that cannot be read is left as it is, and the log names it.
    pub(super) fn all(&self) -> Result<Vec<Note>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("read", &self.dir))?,
        };
        let mut notes = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed("read", &self.dir))?.path();
            if path.extension().is_none_or(|extension| extension != LIVE && extension != ENDED) {
                continue;
            }
            match read(&path) {
                Ok(note) => notes.extend(note),
                Err(error) => tracing::error!(%error, "an ephemeral volume is not known any more"),
            }
        }
        Ok(notes)
    }

    fn path(&self, key: &VolumeKey, extension: &str) -> PathBuf {
        self.dir.join(format!("{key}.{extension}"))
    }

    /// Writes a file that appears complete or not at all.
    fn put(
        &self,
        path: &Path,
        content: &[u8],
        place: impl FnOnce(tempfile::NamedTempFile) -> Result<File, tempfile::PersistError>,
    ) -> io::Result<()> {
        debug_assert!(path.starts_with(&self.dir));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let mut new = tempfile::Builder::new().prefix("new.").tempfile_in(&self.dir)?;
        new.write_all(content)?;
        new.as_file().sync_all()?;
        place(new)?;
        self.sync()
    }

    /// Waits until the names in the directory are on the disk.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

fn read(path: &Path) -> Result<Option<Note>> {
    let json = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        json => json.map_err(failed("read", path))?,
    };
    let bad =
        |e: serde_json::Error| Error::BadRecord { path: path.display().to_string(), reason: e.to_string() };
    serde_json::from_slice(&json).map(Some).map_err(bad)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("unlink", path)(error)),
        _ => Ok(()),
    }
}

fn failed(op: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| SysError::new(op, path.display().to_string(), error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(notes: &Notes, volume_id: &str) -> Note {
        Note {
            volume_id: volume_id.to_owned(),
            export: ExportRef::named("fast").unwrap(),
            folder: notes.own_folder().unwrap(),
            target: PathBuf::from("/k/pod/mount"),
        }
    }

    #[test]
    fn a_note_outlasts_the_process_until_its_volume_is_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let notes = || Notes::new(temporary.path().join("plugins/driver/ephemeral"), "node-1");
        assert_eq!(notes().all().unwrap(), []);
        notes().end(&VolumeKey::of_name("csi-1")).unwrap();
        let (one, two) = (note(&notes(), "csi-1"), note(&notes(), "../../csi-2"));
        assert_eq!(one.folder, two.folder, "the name of the folder is kept");
        for note in [&one, &two] {
            notes().write(note).unwrap();
        }
        assert_eq!(notes().all().unwrap().len(), 2);
        assert_eq!(notes().read(&two.key()).unwrap().as_ref(), Some(&two));
        notes().end(&one.key()).unwrap();
        assert_eq!(notes().read(&one.key()).unwrap(), None);
        assert_eq!(notes().read_ended(&one.key()).unwrap().as_ref(), Some(&one));
        // Published again before it was removed.
        notes().write(&one).unwrap();
        assert_eq!(notes().read_ended(&one.key()).unwrap(), None);
        notes().end(&one.key()).unwrap();
        notes().forget(&one.key()).unwrap();
        assert_eq!(notes().all().unwrap(), [two]);
    }

    #[test]
    fn a_note_that_cannot_be_read_does_not_hide_the_others() {
        let temporary = tempfile::tempdir().unwrap();
        let notes = Notes::new(temporary.path().to_owned(), "node-1");
        notes.write(&note(&notes, "csi-1")).unwrap();
        fs::write(temporary.path().join("csi-2.json"), "{").unwrap();
        let json = serde_json::json!({ "volume_id": "csi-3", "export": "fast", "folder": "volumes", "target": "/k" });
        fs::write(temporary.path().join("csi-3.json"), json.to_string()).unwrap();
        assert_eq!(notes.all().unwrap(), [note(&notes, "csi-1")]);
        assert!(matches!(notes.read(&VolumeKey::of_name("csi-2")), Err(Error::BadRecord { .. })));
    }
}
