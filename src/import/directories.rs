//! Which volume owns which directory of the share.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::linux::Dir;
use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::STATE_DIR;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::state_dir::StateDir;

use crate::terminal::printable;

/// How many records are read at a time.
const PAGE: usize = 1024;

/// The owner of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// The PersistentVolume in this row of the plan.
    Row(usize),
    /// The volume of this driver with this record.
    Record(VolumeKey),
}

/// Directories and their owners, sorted by path.
#[derive(Debug, Default)]
pub(super) struct Directories(BTreeMap<String, Vec<Owner>>);

impl Directories {
    /// The directories of all volumes that have a record. Each takes some hundred bytes of memory.
    pub(super) fn recorded(state: Option<&StateDir>) -> Result<Self> {
        let mut directories = Self::default();
        let Some(state) = state else { return Ok(directories) };
        let mut after = None;
        loop {
            let keys = state.keys(after.as_ref(), PAGE)?;
            for (key, record) in state.records(&keys)? {
                directories.add(&record.sub_dir, Owner::Record(key));
            }
            match keys.last() {
                Some(last) => after = Some(last.clone()),
                None => return Ok(directories),
            }
        }
    }

    pub(super) fn add(&mut self, sub_dir: &SubDir, owner: Owner) {
        match self.0.entry(sub_dir.as_str().to_owned()) {
            Entry::Occupied(mut entry) => entry.get_mut().push(owner),
            Entry::Vacant(entry) => drop(entry.insert(vec![owner])),
        }
    }

    /// The owners of this directory, of the directories that contain it, and of the directories within it.
    pub(super) fn owners_of(&self, sub_dir: &SubDir) -> impl Iterator<Item = (&str, &Owner)> {
        let path = sub_dir.as_str();
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let around = ends.filter_map(|end| self.0.get_key_value(&path[..end]));
        around
            .chain(self.within(path))
            .flat_map(|(path, owners)| owners.iter().map(|owner| (path.as_str(), owner)))
    }

    fn within(&self, path: &str) -> impl Iterator<Item = (&String, &Vec<Owner>)> {
        let prefix = format!("{path}/");
        self.0.range(prefix.clone()..).take_while(move |(path, _)| path.starts_with(&prefix))
    }

    /// The directories on the share that have no owner and contain no directory that has one, sorted, as text for a
    /// terminal. Only directories that contain a directory with an owner are read.
    pub(super) fn orphans(&self, share: &Dir) -> Vec<String> {
        let mut orphans = Vec::new();
        self.walk(share, "", &mut orphans);
        orphans.sort();
        orphans
    }

    fn walk(&self, dir: &Dir, prefix: &str, orphans: &mut Vec<String>) {
        let seen = dir.for_each_entry(|entry| {
            let name = entry.name.to_string_lossy();
            let path = format!("{prefix}{name}");
            if entry.is_dir == Some(false) || path == STATE_DIR || self.0.contains_key(&path) {
                return;
            }
            if self.within(&path).next().is_none() {
                let archive = if name.starts_with("archived-") { " (an archive)" } else { "" };
                orphans.push(printable(&path) + archive);
                return;
            }
            match dir.open_dir(&entry.name) {
                Ok(inner) => self.walk(&inner, &format!("{path}/"), orphans),
                Err(error) => {
                    orphans.push(format!("{} (could not be opened: {})", printable(&path), error.source));
                }
            }
        });
        if let Err(error) = seen {
            orphans.push(format!("{} (could not be read to its end: {})", printable(prefix), error.source));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(text: &str) -> SubDir {
        SubDir::parse(text).unwrap()
    }

    #[test]
    fn owners_are_found_above_and_within_a_directory_but_not_beside_it() {
        let mut directories = Directories::default();
        for (row, path) in ["a/b", "a/b/c/d", "a/b-2", "a/bc", "b", "a/b"].into_iter().enumerate() {
            directories.add(&dir(path), Owner::Row(row));
        }
        let owners = |path: &str| {
            let mut rows: Vec<usize> = Vec::new();
            for (_, owner) in directories.owners_of(&dir(path)) {
                let Owner::Row(row) = owner else { panic!("{owner:?}") };
                rows.push(*row);
            }
            rows.sort_unstable();
            rows
        };
        assert_eq!(owners("a/b"), [0, 1, 5]);
        assert_eq!(owners("a"), [0, 1, 2, 3, 5]);
        assert_eq!(owners("a/b/c"), [0, 1, 5]);
        assert_eq!(owners("a/b/c/d/e"), [0, 1, 5]);
        assert_eq!(owners("a/b-2"), [2]);
        assert_eq!(owners("c"), [0; 0]);
    }

    #[test]
    fn directories_without_an_owner_are_found_at_every_depth() {
        let temporary = tempfile::tempdir().unwrap();
        for path in ["ns/claim/inner", "ns/left", "archived-x", "bad\u{1b}[2J", ".nfs-subdir-csi", "empty"] {
            std::fs::create_dir_all(temporary.path().join(path)).unwrap();
        }
        std::fs::write(temporary.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", temporary.path().join("link")).unwrap();
        let mut directories = Directories::default();
        directories.add(&dir("ns/claim"), Owner::Row(0));
        let orphans = directories.orphans(&Dir::open(temporary.path()).unwrap());
        assert_eq!(orphans, ["archived-x (an archive)", "bad\u{fffd}[2J", "empty", "ns/left"]);
    }
}
