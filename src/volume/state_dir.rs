//! The driver's own directory at the top of a share: records, trash, work.
//!
//! It is the driver's only memory. A record appears and changes as a whole or not at all: it is written under a
//! name of its own, synced, and then linked or renamed into place.

use std::sync::Arc;

use crate::linux::{Dir, unique};

use super::provision::explain_denied;
use super::record::{LONGEST_RECORD, Record};
use super::sub_dir::STATE_DIR;
use super::{Error, Result, VolumeKey};

/// Nobody but the driver has any business in there; directories of deleted volumes lie in it.
const MODE: u32 = 0o700;

/// Handles of the state directory's parts.
#[derive(Debug)]
pub struct StateDir {
    volumes: Dir,
    work: Dir,
    /// Where directories of deleted volumes wait for the reaper.
    pub trash: Arc<Dir>,
}

impl StateDir {
    /// Opens the state directory of a share. `None` if the driver has never made one there.
    pub fn open(share: &Dir) -> Result<Option<Self>> {
        match share.open_dir(STATE_DIR) {
            Err(error) if error.is_not_found() => Ok(None),
            result => Self::complete(&result?).map(Some),
        }
    }

    /// Opens the state directory of a share, and makes what is missing of it.
    pub fn create(share: &Dir) -> Result<Self> {
        Self::complete(&share.open_or_make_dir(STATE_DIR, MODE).map_err(explain_denied)?)
    }

    fn complete(top: &Dir) -> Result<Self> {
        let part = |name: &str| top.open_or_make_dir(name, MODE).map_err(explain_denied);
        Ok(Self { volumes: part("volumes")?, work: part("work")?, trash: Arc::new(part("trash")?) })
    }

    /// Where something is built that is to appear complete.
    pub(super) fn work(&self) -> &Dir {
        &self.work
    }

    /// The record of a volume. Three NFS requests (OPEN, READ, CLOSE) where there is one, one where there is none.
    pub fn read(&self, key: &VolumeKey) -> Result<Option<Record>> {
        let file = file_of(key);
        let Some(json) = self.volumes.read_file(&file, LONGEST_RECORD)? else { return Ok(None) };
        Record::from_json(&json, &format!("{}/{file}", self.volumes.label())).map(Some)
    }

    /// Writes the record of a new volume. `false` if there is one already, written by whomever: linking decides
    /// between two controllers at once. Five NFS requests: OPEN, WRITE, CLOSE, LINK, REMOVE.
    pub fn add(&self, key: &VolumeKey, record: &Record) -> Result<bool> {
        let draft = self.write_draft(key, record)?;
        let linked = self.work.link(&draft, &self.volumes, file_of(key));
        self.work.remove_file(&draft)?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.is_taken() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the record of a volume.
    pub fn replace(&self, key: &VolumeKey, record: &Record) -> Result<()> {
        let draft = self.write_draft(key, record)?;
        Ok(self.work.rename(&draft, &self.volumes, file_of(key))?)
    }

    fn write_draft(&self, key: &VolumeKey, record: &Record) -> Result<String> {
        let draft = format!("{key}.{:x}", unique());
        if let Err(error) = self.work.create_file(&draft, &record.to_json()) {
            // A full disk is the usual reason; the empty draft must not add to it.
            let cleaned = self.work.remove_file(&draft).err().filter(|e| !e.is_not_found());
            let errors = std::iter::once(error).chain(cleaned).map(Error::from).collect();
            return Err(Error::Several(errors));
        }
        Ok(draft)
    }

    /// Removes the record of a volume; one that is not there is removed already.
    pub fn remove(&self, key: &VolumeKey) -> Result<()> {
        match self.volumes.remove_file(file_of(key)) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn file_of(key: &VolumeKey) -> String {
    format!("{key}.json")
}

#[cfg(test)]
mod tests {
    use super::super::SubDir;
    use super::super::parameters::{OnDelete, Ownership};
    use super::*;

    fn record(name: &str) -> Record {
        Record {
            name: name.to_owned(),
            sub_dir: SubDir::parse(name).unwrap(),
            capacity_bytes: 0,
            on_delete: OnDelete::Delete,
            ownership: Ownership::default(),
            created: 0,
        }
    }

    #[test]
    fn a_record_is_made_once_and_leaves_no_draft() {
        let temporary = tempfile::tempdir().unwrap();
        let share = Dir::open(temporary.path()).unwrap();
        assert!(StateDir::open(&share).unwrap().is_none());
        let state = StateDir::create(&share).unwrap();
        let key = VolumeKey::of_name("v");
        assert!(state.add(&key, &record("v")).unwrap());
        assert!(!state.add(&key, &record("other")).unwrap());
        assert_eq!(state.read(&key).unwrap().unwrap(), record("v"));
        state.replace(&key, &record("w")).unwrap();
        assert_eq!(state.read(&key).unwrap().unwrap(), record("w"));
        assert!(state.work.entries(10).unwrap().is_empty());
        state.remove(&key).unwrap();
        state.remove(&key).unwrap();
        assert!(state.read(&key).unwrap().is_none());
    }
}
