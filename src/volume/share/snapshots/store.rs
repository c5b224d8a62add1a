//! Sets of snapshots on an export. Each set has one directory, with its record and the trees of its members.

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

/// All sets of one kind on one export.
#[derive(Debug)]
pub struct SnapshotSets(Dir);

impl SnapshotSets {
    /// Opens the folder of the sets. Creates it if it does not exist.
    pub fn create(state: &StateDir, kind: Kind) -> Result<Self> {
        state.part(kind.part()).map(Self)
    }

    /// Opens the folder of the sets, if it exists.
    pub fn open(state: &StateDir, kind: Kind) -> Result<Option<Self>> {
        Ok(state.existing_part(kind.part())?.map(Self))
    }

    /// The record of a set, if the set exists. Five NFS requests: GETATTR, LOOKUP, OPEN, READ, CLOSE.
    pub fn read(&self, key: &VolumeKey) -> Result<Option<SnapshotRecord>> {
        // Without this the client may answer from its cache, which does not have what another controller has just made.
        self.0.fresh()?;
        let file = format!("{key}/{RECORD}");
        let Some(json) = self.0.read_file(&file, LONGEST_RECORD)? else { return Ok(None) };
        SnapshotRecord::from_json(&json, &format!("{}/{file}", self.0.label())).map(Some)
    }

    /// The keys after `after`, in order, and at most `limit` of them. NFS requests: a GETATTR, and the READDIRs of the folder.
    pub fn keys(&self, after: Option<&VolumeKey>, limit: usize) -> Result<Vec<VolumeKey>> {
        self.0.fresh()?;
        first_keys(&self.0, "", after, limit)
    }

    /// How many sets there are. NFS requests: a GETATTR, and the READDIRs of the folder.
    pub fn count(&self) -> Result<u64> {
        self.0.fresh()?;
        let mut count = 0;
        self.0.for_each_entry(|_| count += 1)?;
        Ok(count)
    }

    /// The tree of a member, if it exists. NFS requests: GETATTR, and a LOOKUP of each name that the client does not have.
    pub fn tree(&self, key: &VolumeKey, number: usize) -> Result<Option<Dir>> {
        self.0.fresh()?;
        match self.0.open_dir(format!("{key}/{number}")) {
            Err(error) if error.is_not_found() => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// Deletes a set. Returns `false` if it does not exist. One RENAME.
    pub fn discard(&self, state: &StateDir, key: &VolumeKey, policy: ExportPolicy) -> Result<bool> {
        state.discard(&self.0, key.as_str(), key, policy)
    }
}

/// A set that is being created. It becomes visible when it is complete.
#[derive(Debug)]
pub struct SetDraft {
    draft: Draft,
    dir: Dir,
}

impl SetDraft {
    /// Creates an empty draft.
    pub fn begin(state: &StateDir, key: &VolumeKey) -> Result<Self> {
        let (draft, dir) = state.draft_dir(key.as_str(), 0o700)?;
        Ok(Self { draft, dir })
    }

    /// Creates the empty directory for the tree of a member.
    pub fn tree(&self, number: usize) -> Result<Dir> {
        Ok(self.dir.open_or_make_dir(number.to_string(), 0o700)?)
    }

    /// Writes the record and moves the draft to its place. If there is a set with this key meanwhile, removes the draft and returns
    /// `false`.
    pub fn commit(self, sets: &SnapshotSets, key: &VolumeKey, record: &SnapshotRecord) -> Result<bool> {
        if let Err(error) = self.dir.create_file(RECORD, &record.to_json()) {
            return Err(self.discard(error.into()));
        }
        // rename(2) replaces only an empty directory, and every set has a record in it.
        match self.draft.place(&sets.0, key.as_str()) {
            Ok(()) => Ok(true),
            Err(Error::Sys(error)) if error.is_not_empty() => {
                self.draft.remove()?;
                Ok(false)
            }
            Err(error) => Err(self.discard(error)),
        }
    }

    /// Removes the draft at once, so that its space is free again. Returns `reason`, with the error of the removal if that fails.
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
        assert_eq!(sets.count().unwrap(), 1);
        let process = state.process().unwrap();
        assert_eq!(process.left_behind().unwrap(), Vec::<String>::new(), "no draft is left");
        assert!(sets.discard(&state, &key, ExportPolicy::default()).unwrap());
        assert!(!sets.discard(&state, &key, ExportPolicy::default()).unwrap());
        assert!(sets.read(&key).unwrap().is_none());
        assert_eq!(state.existing_deleted().unwrap().unwrap().entries(9).unwrap().len(), 1);
    }
}
