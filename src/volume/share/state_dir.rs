//! The driver's own directory at the top of a share: records, deleted directories, and directories of processes.
//!
//! It is the driver's only memory. A record appears and changes as a whole or not at all: it is written under a
//! name of its own, synced, and then linked or renamed into place.

use std::collections::BinaryHeap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::linux::{Dir, unique_text};

use crate::volume::error::{Error, Result, explain_denied, several};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::STATE_DIR;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::deleted::{self, Terms};
use crate::volume::share::process_dir::{ABANDONED_AFTER, Draft, ProcessDir};
use crate::volume::share::record::{LONGEST_RECORD, Record};

/// Where the records of volumes are.
const VOLUMES: &str = "volumes";
/// Ending of a record's file name.
const SUFFIX: &str = ".json";
/// Threads that read records for a list.
const READERS: usize = 8;
/// Records held at a time while all are looked at.
const PAGE: usize = 4096;
/// Nobody but the driver has any business in there; directories of deleted volumes lie in it.
const MODE: u32 = 0o700;

/// Handles of the state directory's parts, and the directory that this process has there.
#[derive(Debug)]
pub struct StateDir {
    top: Dir,
    volumes: Dir,
    deleted: Mutex<Option<Arc<Dir>>>,
    process: Mutex<Option<Arc<ProcessDir>>>,
    abandoned_after: Duration,
}

impl StateDir {
    /// Opens the state directory of a share. `None` if the driver has never made a volume there. Changes nothing.
    pub fn open(share: &Dir) -> Result<Option<Self>> {
        let opened = share.open_dir(STATE_DIR).and_then(|top| Ok((top.open_dir(VOLUMES)?, top)));
        match opened {
            Err(error) if error.is_not_found() => Ok(None),
            result => result.map(|(volumes, top)| Some(Self::new(top, volumes))).map_err(Error::from),
        }
    }

    /// Opens the state directory of a share, and makes what is missing of it.
    pub fn create(share: &Dir) -> Result<Self> {
        let top = share.open_or_make_dir(STATE_DIR, MODE).map_err(explain_denied)?;
        let volumes = top.open_or_make_dir(VOLUMES, MODE).map_err(explain_denied)?;
        Ok(Self::new(top, volumes))
    }

    fn new(top: Dir, volumes: Dir) -> Self {
        let (deleted, process) = (Mutex::default(), Mutex::default());
        Self { top, volumes, deleted, process, abandoned_after: ABANDONED_AFTER }
    }

    /// Sets after how long without a sign of life other processes count as dead, and this one to them.
    #[must_use]
    pub fn with_abandoned_after(self, abandoned_after: Duration) -> Self {
        Self { abandoned_after, ..self }
    }

    pub(super) fn abandoned_after(&self) -> Duration {
        self.abandoned_after
    }

    /// Its name in messages.
    pub(super) fn label(&self) -> String {
        self.top.label()
    }

    /// A further part, made if it is not there: not every share has snapshots.
    pub(in crate::volume) fn part(&self, name: &str) -> Result<Dir> {
        self.top.open_or_make_dir(name, MODE).map_err(explain_denied)
    }

    /// A further part, if it is there.
    pub(in crate::volume) fn existing_part(&self, name: &str) -> Result<Option<Dir>> {
        match self.top.open_dir(name) {
            Err(error) if error.is_not_found() => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// The directory of this process, made at its first use, and made anew after another process took this one for dead.
    pub(in crate::volume) fn process(&self) -> Result<Arc<ProcessDir>> {
        let mut process = self.process.lock();
        if let Some(process) = process.as_ref().filter(|process| !process.is_lost()) {
            return Ok(Arc::clone(process));
        }
        let new = ProcessDir::make(&self.top, self.abandoned_after)?;
        Ok(Arc::clone(process.insert(new)))
    }

    /// The directory of this process, if there is one.
    pub(super) fn own_process(&self) -> Option<Arc<ProcessDir>> {
        self.process.lock().clone().filter(|process| !process.is_lost())
    }

    /// Removes the directory of this process, for commands that end soon.
    pub fn close(self) -> Result<()> {
        self.process.lock().take().map_or(Ok(()), |process| process.remove())
    }

    /// A name in the directory of this process for something that is to appear complete. Nothing is made yet.
    pub(in crate::volume) fn draft(&self, what: &str) -> Result<Draft> {
        Ok(self.process()?.hold(format!("{what}.{}", unique_text())))
    }

    /// A draft that is an empty directory. If the directory of this process is gone by now, another one is made.
    pub(in crate::volume) fn draft_dir(&self, what: &str, mode: u32) -> Result<(Draft, Dir)> {
        self.with_process(|| {
            let draft = self.draft(what)?;
            let dir = draft.make_dir(mode)?;
            Ok((draft, dir))
        })
    }

    /// Does `work` in the directory of this process, and once again if that is gone.
    fn with_process<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        match work() {
            Err(error) if error.is_gone() && self.own_process().is_none() => work(),
            result => result,
        }
    }

    /// Moves a directory, or a file, to those that are removed in the background, with what `policy` promises now. `false`
    /// if it is not there. One RENAME, and three requests more for the time of the server if it is to be kept.
    pub(in crate::volume) fn discard(
        &self,
        from: &Dir,
        name: &str,
        key: &VolumeKey,
        policy: ExportPolicy,
    ) -> Result<bool> {
        let retention = i64::try_from(policy.trash_retention.as_secs()).unwrap_or(i64::MAX);
        let due = match retention {
            0 => 0,
            // One second more: the time of the server is rounded down.
            _ => self
                .with_process(|| Ok(self.process()?.server_time()?))?
                .saturating_add(retention)
                .saturating_add(1),
        };
        let terms = Terms { due, removals_per_second: policy.removals_per_second };
        match from.rename(name, &*self.deleted()?, terms.name_of(key)) {
            Err(error) if error.is_not_found() => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }

    fn deleted(&self) -> Result<Arc<Dir>> {
        let mut deleted = self.deleted.lock();
        if let Some(deleted) = &*deleted {
            return Ok(Arc::clone(deleted));
        }
        Ok(Arc::clone(deleted.insert(Arc::new(self.part(deleted::FOLDER)?))))
    }

    /// Where deleted directories wait to be removed, if anything was ever deleted.
    pub(super) fn existing_deleted(&self) -> Result<Option<Dir>> {
        let deleted = self.existing_part(deleted::FOLDER)?;
        if let Some(deleted) = &deleted {
            deleted.fresh()?;
        }
        Ok(deleted)
    }

    /// The record of a volume. Three NFS requests (OPEN, READ, CLOSE) where there is one, one where there is none.
    pub fn read(&self, key: &VolumeKey) -> Result<Option<Record>> {
        let file = file_of(key);
        let Some(json) = self.volumes.read_file(&file, LONGEST_RECORD)? else { return Ok(None) };
        Record::from_json(&json, &format!("{}/{file}", self.volumes.label())).map(Some)
    }

    /// The keys after `after` in order, at most `limit` of them.
    pub fn keys(&self, after: Option<&VolumeKey>, limit: usize) -> Result<Vec<VolumeKey>> {
        first_keys(&self.volumes, SUFFIX, after, limit)
    }

    /// The records of these keys, in their order. A key whose record is gone by now is left out. Read by a few threads
    /// at once, because each waits for the server most of the time.
    pub fn records(&self, keys: &[VolumeKey]) -> Result<Vec<(VolumeKey, Record)>> {
        let share = keys.len().div_ceil(READERS).max(1);
        let read = |keys: &[VolumeKey]| {
            let with_key = |key: &VolumeKey| Ok(self.read(key)?.map(|record| (key.clone(), record)));
            keys.iter().filter_map(|key| with_key(key).transpose()).collect::<Result<Vec<_>>>()
        };
        if keys.len() < 2 * READERS {
            return read(keys);
        }
        std::thread::scope(|scope| {
            let readers: Vec<_> = keys.chunks(share).map(|keys| scope.spawn(move || read(keys))).collect();
            let parts =
                readers.into_iter().map(|reader| reader.join().unwrap_or_else(|panic| resume_unwind(panic)));
            Ok(parts.collect::<Result<Vec<_>>>()?.concat())
        })
    }

    /// Bytes promised to all volumes together.
    pub fn sum_of_capacities(&self) -> Result<u64> {
        let mut sum = 0u64;
        let mut after = None;
        loop {
            let keys = self.keys(after.as_ref(), PAGE)?;
            for (_, record) in self.records(&keys)? {
                sum = sum.saturating_add(record.capacity_bytes);
            }
            match keys.last() {
                Some(last) if keys.len() == PAGE => after = Some(last.clone()),
                _ => return Ok(sum),
            }
        }
    }

    /// Writes the record of a new volume. `false` if there is one already, written by whomever: linking decides
    /// between two controllers at once. Seven NFS requests: OPEN, SETATTR (for O_EXCL), ACCESS, WRITE, CLOSE, LINK, REMOVE.
    pub fn add(&self, key: &VolumeKey, record: &Record) -> Result<bool> {
        let draft = self.write_draft(key, record)?;
        let linked = draft.dir().link(draft.name(), &self.volumes, file_of(key));
        draft.dir().remove_file(draft.name())?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.is_taken() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the record of a volume.
    pub fn replace(&self, key: &VolumeKey, record: &Record) -> Result<()> {
        let draft = self.write_draft(key, record)?;
        draft.place(&self.volumes, &file_of(key))
    }

    fn write_draft(&self, key: &VolumeKey, record: &Record) -> Result<Draft> {
        self.with_process(|| {
            let draft = self.draft(key.as_str())?;
            match draft.write(&record.to_json()) {
                Ok(()) => Ok(draft),
                // A full disk is the usual reason; the empty draft must not add to it.
                Err(reason) => Err(several(std::iter::once(reason).chain(draft.remove().err()).collect())),
            }
        })
    }

    /// Removes the record of a volume; one that is not there is removed already.
    pub fn remove(&self, key: &VolumeKey) -> Result<()> {
        match self.volumes.remove_file(file_of(key)) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The keys after `after` in order, at most `limit` of them, of the entries of `dir` that are called by a key and
/// `suffix`. However many there are, no more than `limit` keys are held at a time. One READDIR for every few hundred
/// entries.
pub(in crate::volume) fn first_keys(
    dir: &Dir,
    suffix: &str,
    after: Option<&VolumeKey>,
    limit: usize,
) -> Result<Vec<VolumeKey>> {
    let mut smallest = BinaryHeap::new();
    dir.for_each_entry(|entry| {
        let key = entry.name.to_str().and_then(|name| name.strip_suffix(suffix)).and_then(VolumeKey::parse);
        if let Some(key) = key.filter(|key| after.is_none_or(|after| key > after)) {
            smallest.push(key);
            if smallest.len() > limit {
                smallest.pop();
            }
        }
    })?;
    Ok(smallest.into_sorted_vec())
}

fn file_of(key: &VolumeKey) -> String {
    format!("{key}{SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::sub_dir::SubDir;
    use crate::volume::on_delete::OnDelete;
    use crate::volume::policy::parameters::Ownership;

    fn record(name: &str) -> Record {
        Record {
            name: name.to_owned(),
            sub_dir: SubDir::parse(name).unwrap(),
            capacity_bytes: 0,
            on_delete: OnDelete::Delete,
            ownership: Ownership::default(),
            direct_mount: false,
            source: None,
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
        assert_eq!(state.own_process().unwrap().left_behind().unwrap(), Vec::<String>::new());
        state.remove(&key).unwrap();
        state.remove(&key).unwrap();
        assert!(state.read(&key).unwrap().is_none());
    }

    #[test]
    fn keys_come_in_order_page_by_page_and_what_is_no_record_is_left_out() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDir::create(&Dir::open(temporary.path()).unwrap()).unwrap();
        let mut names: Vec<String> = (0..100).map(|number| format!("v{}", number * 37 % 100)).collect();
        for name in &names {
            let record = Record { capacity_bytes: 2, ..record(name) };
            state.add(&VolumeKey::of_name(name), &record).unwrap();
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
    }
}
