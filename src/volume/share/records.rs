//! Reading the records of volumes.

use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::linux::Dir;

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::record::{LONGEST_RECORD, Record};
use crate::volume::share::state_dir::StateDir;

/// The ending of the file name of a record.
pub(super) const SUFFIX: &str = ".json";
/// How many threads read the records for a list.
const READERS: usize = 8;
/// How many keys or records are in memory at the same time when all are read.
const PAGE: usize = 4096;

impl StateDir {
    /// The record of a volume, if it exists. NFS requests: GETATTR and LOOKUP if it does not exist, and otherwise GETATTR, OPEN, READ and CLOSE.
    pub fn read(&self, key: &VolumeKey) -> Result<Option<Record>> {
        // Without this, the client may remember that the name did not exist, and not ask the server.
        self.volumes.fresh()?;
        self.read_now(key)
    }

    /// Gives the record of a volume the present time, so that who watches the folder looks at the volume. NFS request: SETATTR.
    pub(in crate::volume) fn touch_record(&self, key: &VolumeKey) -> Result<()> {
        match self.volumes.touch(file_of(key)) {
            // It was deleted meanwhile.
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn read_now(&self, key: &VolumeKey) -> Result<Option<Record>> {
        let file = file_of(key);
        let Some(json) = self.volumes.read_file(&file, LONGEST_RECORD)? else { return Ok(None) };
        Record::from_json(&json, &format!("{}/{file}", self.volumes.label())).map(Some)
    }

    /// The keys after `after`, in order, and at most `limit` of them. NFS requests: a GETATTR, and the READDIRs of the folder.
    pub fn keys(&self, after: Option<&VolumeKey>, limit: usize) -> Result<Vec<VolumeKey>> {
        // Without this, the client may answer from its cache, which does not have what another controller has just created.
        self.volumes.fresh()?;
        first_keys(&self.volumes, SUFFIX, after, limit)
    }

    /// The records of these keys, in the same order. A key whose record does not exist any more is left out. Several threads read the records,
    /// because each of them waits for the server most of the time. The keys must come from [`Self::keys`], which has just asked the server what
    /// the folder contains. NFS requests: OPEN, READ and CLOSE for each record.
    pub fn records(&self, keys: &[VolumeKey]) -> Result<Vec<(VolumeKey, Record)>> {
        each(keys, &|key| self.read_now(key))
    }

    /// As [`Self::records`], without the records that this version cannot read. The log names these.
    pub fn readable_records(&self, keys: &[VolumeKey]) -> Result<Vec<(VolumeKey, Record)>> {
        each(keys, &|key| match self.read_now(key) {
            Err(error @ Error::BadRecord { .. }) => {
                tracing::warn!(%error, "a volume is missing from the list");
                Ok(None)
            }
            read => read,
        })
    }

    /// The sum of the capacities of all volumes, in bytes.
    pub fn sum_of_capacities(&self) -> Result<u64> {
        let mut sum = 0u64;
        self.for_each_page(|keys| {
            let records = self.records(keys)?;
            sum = records.iter().fold(sum, |sum, (_, record)| sum.saturating_add(record.capacity_bytes));
            Ok(())
        })?;
        Ok(sum)
    }

    /// Counts the volumes and what they are promised, and calls `see` with each of them, in the order of their keys. NFS requests: those of
    /// [`Self::keys`], and OPEN, READ and CLOSE for each record.
    pub fn count(&self, mut see: impl FnMut(VolumeKey, Record)) -> Result<Count> {
        let mut count = Count::default();
        self.for_each_page(|keys| {
            let unreadable = AtomicU64::new(0);
            let records = each(keys, &|key| match self.read_now(key) {
                Err(Error::BadRecord { .. }) => {
                    unreadable.fetch_add(1, Ordering::Relaxed);
                    Ok(None)
                }
                read => read,
            })?;
            let unreadable = unreadable.into_inner();
            count.unreadable += unreadable;
            count.volumes += records.len() as u64 + unreadable;
            for (key, record) in records {
                count.bytes = count.bytes.saturating_add(record.capacity_bytes);
                see(key, record);
            }
            Ok(())
        })?;
        Ok(count)
    }

    /// Calls `see` with all keys, in order, some at a time.
    fn for_each_page(&self, mut see: impl FnMut(&[VolumeKey]) -> Result<()>) -> Result<()> {
        let mut pages = Pages::default();
        while let Some(keys) = pages.next_page(|after, limit| self.keys(after, limit))? {
            see(&keys)?;
        }
        Ok(())
    }
}

/// Goes through all keys of a folder in order, some at a time, so that few are in memory.
#[derive(Debug, Default)]
pub struct Pages {
    after: Option<VolumeKey>,
    has_ended: bool,
}

impl Pages {
    /// The next keys, or `None` after the last ones. `read` gets the keys after one, and at most so many.
    pub fn next_page(
        &mut self,
        read: impl FnOnce(Option<&VolumeKey>, usize) -> Result<Vec<VolumeKey>>,
    ) -> Result<Option<Vec<VolumeKey>>> {
        if self.has_ended {
            return Ok(None);
        }
        let keys = read(self.after.as_ref(), PAGE)?;
        self.has_ended = keys.len() < PAGE;
        self.after = keys.last().cloned();
        Ok(Some(keys))
    }
}

/// What the records of an export say together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many records there are.
    pub volumes: u64,
    /// How many of them this version cannot read.
    pub unreadable: u64,
    /// The sum of the capacities of the others, in bytes.
    pub bytes: u64,
}

/// Calls `read` with each key, in several threads. Returns what was read in the order of the keys.
pub(super) fn each<T: Send + Sync>(
    keys: &[VolumeKey],
    read: &(dyn Fn(&VolumeKey) -> Result<Option<T>> + Sync),
) -> Result<Vec<(VolumeKey, T)>> {
    let found: Vec<OnceLock<T>> = keys.iter().map(|_| OnceLock::new()).collect();
    in_threads(keys.len(), &|number| {
        if let Some(value) = read(&keys[number])? {
            let _ = found[number].set(value);
        }
        Ok(())
    })?;
    let with_key = |(key, found): (&VolumeKey, OnceLock<T>)| Some((key.clone(), found.into_inner()?));
    Ok(keys.iter().zip(found).filter_map(with_key).collect())
}

/// Calls `work` with each number below `count`, in several threads if there are many.
fn in_threads(count: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    if count < 2 * READERS {
        return (0..count).try_for_each(work);
    }
    let share = count.div_ceil(READERS);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..count)
            .step_by(share)
            .map(|first| scope.spawn(move || (first..count.min(first + share)).try_for_each(work)))
            .collect();
        readers.into_iter().try_for_each(|reader| reader.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// The keys after `after`, in order, and at most `limit` of them. The names of the entries of `dir` are a key and `suffix`; other entries are
/// ignored. Not more than `limit` keys are in memory at the same time. NFS requests: one READDIR for a few hundred entries.
pub(in crate::volume) fn first_keys(
    dir: &Dir,
    suffix: &str,
    after: Option<&VolumeKey>,
    limit: usize,
) -> Result<Vec<VolumeKey>> {
    let mut smallest = BinaryHeap::new();
    dir.for_each_entry(|entry| {
        let key = key_in(&entry.name, suffix);
        if let Some(key) = key.filter(|key| after.is_none_or(|after| key > after)) {
            smallest.push(key);
            if smallest.len() > limit {
                smallest.pop();
            }
        }
    })?;
    Ok(smallest.into_sorted_vec())
}

fn key_in(name: &OsStr, suffix: &str) -> Option<VolumeKey> {
    name.to_str().and_then(|name| name.strip_suffix(suffix)).and_then(VolumeKey::parse)
}

/// The key of the volume whose record has this file name.
pub(super) fn key_of(name: &OsStr) -> Option<VolumeKey> {
    key_in(name, SUFFIX)
}

/// The file name of the record of a volume.
pub(super) fn file_of(key: &VolumeKey) -> String {
    format!("{key}{SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::sub_dir::SubDir;
    use crate::volume::share::claims::Added;

    #[test]
    fn keys_come_in_order_page_by_page_and_other_files_are_left_out() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDir::create(&Dir::open(temporary.path()).unwrap()).unwrap();
        let mut names: Vec<String> = (0..100).map(|number| format!("v{}", number * 37 % 100)).collect();
        for name in &names {
            let sub_dir = SubDir::parse(name).unwrap();
            let record = Record { capacity_bytes: 2, ..Record::new(name.clone(), sub_dir) };
            let Added::Made(held) = state.add(&VolumeKey::of_name(name), &record).unwrap() else {
                panic!("{name}")
            };
            state.keep(&held).unwrap();
        }
        std::fs::write(temporary.path().join(".nfs-subdir-csi/volumes/.hidden.json"), "").unwrap();
        std::fs::write(temporary.path().join(".nfs-subdir-csi/volumes/note.txt"), "").unwrap();
        let mut listed = Vec::new();
        loop {
            let page = state.keys(listed.last(), 7).unwrap();
            if page.is_empty() {
                break;
            }
            assert_eq!(state.records(&page).unwrap().len(), page.len());
            listed.extend(page);
        }
        names.sort();
        assert_eq!(listed.iter().map(VolumeKey::as_str).collect::<Vec<_>>(), names);
        assert_eq!(state.sum_of_capacities().unwrap(), 200);
        assert_eq!(state.records(&listed).unwrap().len(), 100);
        let count = || state.count(|_, _| ()).unwrap();
        assert_eq!(count(), Count { volumes: 100, unreadable: 0, bytes: 200 });
        std::fs::write(temporary.path().join(".nfs-subdir-csi/volumes/broken.json"), "{").unwrap();
        assert_eq!(count(), Count { volumes: 101, unreadable: 1, bytes: 200 });
    }
}
