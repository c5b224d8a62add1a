//! Where snapshots lie: one directory for each set, with its record and its trees.

use crate::linux::Dir;

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::process_dir::Draft;
use crate::volume::share::records::first_keys;
use crate::volume::share::snapshots::record::{LONGEST_RECORD, SnapshotRecord};
use crate::volume::share::state_dir::StateDir;

const RECORD: &str = "record.json";

/// The sets of one kind on one export.
#[derive(Debug)]
pub struct SnapshotSets(Dir);

impl SnapshotSets {
    /// Opens it, and makes it if it is not there.
    pub fn create(state: &StateDir, kind: Kind) -> Result<Self> {
        state.part(kind.part()).map(Self)
    }

    /// Opens it, if it is there.
    pub fn open(state: &StateDir, kind: Kind) -> Result<Option<Self>> {
        Ok(state.existing_part(kind.part())?.map(Self))
    }

    /// The record of a set, if there is one. Four NFS requests: LOOKUP, OPEN, READ, CLOSE.
    pub fn read(&self, key: &VolumeKey) -> Result<Option<SnapshotRecord>> {
        let file = format!("{key}/{RECORD}");
        let Some(json) = self.0.read_file(&file, LONGEST_RECORD)? else { return Ok(None) };
        SnapshotRecord::from_json(&json, &format!("{}/{file}", self.0.label())).map(Some)
    }

    /// The keys after `after` in order, at most `limit` of them.
    pub fn keys(&self, after: Option<&VolumeKey>, limit: usize) -> Result<Vec<VolumeKey>> {
        first_keys(&self.0, "", after, limit)
    }

    /// The tree of a member.
    pub fn tree(&self, key: &VolumeKey, number: usize) -> Result<Option<Dir>> {
        match self.0.open_dir(format!("{key}/{number}")) {
            Err(error) if error.is_not_found() => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// Deletes a set. `false` if there is none. One RENAME.
    pub fn discard(&self, state: &StateDir, key: &VolumeKey, policy: ExportPolicy) -> Result<bool> {
        state.discard(&self.0, key.as_str(), key, policy)
    }
}

/// A set that is being made. Nobody sees it before it is whole.
#[derive(Debug)]
pub struct SetDraft {
    draft: Draft,
    dir: Dir,
}

impl SetDraft {
    /// Begins an empty one.
    pub fn begin(state: &StateDir, key: &VolumeKey) -> Result<Self> {
        let (draft, dir) = state.draft_dir(key.as_str(), 0o700)?;
        Ok(Self { draft, dir })
    }

    /// An empty directory for the tree of a member.
    pub fn tree(&self, number: usize) -> Result<Dir> {
        Ok(self.dir.open_or_make_dir(number.to_string(), 0o700)?)
    }

    /// Puts it among the sets with this record. `false`, and nothing left, if there is one with this key by now.
    pub fn commit(self, sets: &SnapshotSets, key: &VolumeKey, record: &SnapshotRecord) -> Result<bool> {
        if let Err(error) = self.dir.create_file(RECORD, &record.to_json()) {
            return Err(self.discard(error.into()));
        }
        // rename(2) replaces an empty directory only, and a set has a record in it.
        match self.draft.place(&sets.0, key.as_str()) {
            Ok(()) => Ok(true),
            Err(Error::Sys(error)) if error.is_not_empty() => {
                self.draft.remove()?;
                Ok(false)
            }
            Err(error) => Err(self.discard(error)),
        }
    }

    /// Removes what there is of it at once, so that the space is free again, and answers `reason` with what went wrong
    /// meanwhile.
    #[must_use]
    pub fn discard(self, reason: Error) -> Error {
        reason.with_cleanup(self.draft.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::policy::parameters::Ownership;
    use crate::volume::share::snapshots::record::Member;

    #[test]
    fn a_set_appears_whole_once_and_goes_whole() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDir::create(&Dir::open(temporary.path()).unwrap()).unwrap();
        assert!(SnapshotSets::open(&state, Kind::Single).unwrap().is_none());
        let sets = SnapshotSets::create(&state, Kind::Single).unwrap();
        let key = VolumeKey::of_name("s");
        let record = |source: &str| SnapshotRecord {
            name: "s".to_owned(),
            created_ns: 1,
            members: vec![Member {
                source: source.to_owned(),
                size_bytes: 0,
                capacity_bytes: 0,
                ownership: Ownership::default(),
            }],
        };
        for (source, first) in [("one", true), ("two", false)] {
            let draft = SetDraft::begin(&state, &key).unwrap();
            draft.tree(0).unwrap().create_file(source, b"").unwrap();
            assert_eq!(sets.read(&key).unwrap().is_none(), first);
            assert_eq!(draft.commit(&sets, &key, &record(source)).unwrap(), first);
        }
        assert_eq!(sets.read(&key).unwrap(), Some(record("one")));
        assert_eq!(sets.tree(&key, 0).unwrap().unwrap().entries(9).unwrap()[0].name, "one");
        assert!(sets.tree(&key, 1).unwrap().is_none());
        assert_eq!(sets.keys(None, 10).unwrap(), std::slice::from_ref(&key));
        let process = state.own_process().unwrap();
        assert_eq!(process.left_behind().unwrap(), Vec::<String>::new(), "no draft is left");
        assert!(sets.discard(&state, &key, ExportPolicy::default()).unwrap());
        assert!(!sets.discard(&state, &key, ExportPolicy::default()).unwrap());
        assert!(sets.read(&key).unwrap().is_none());
        assert_eq!(state.existing_deleted().unwrap().unwrap().entries(9).unwrap().len(), 1);
    }
}
