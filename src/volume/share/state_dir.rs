//! The driver's own directory at the top of a share, `.nfs-subdir-csi/`. All else on the share belongs to the tenants.
//!
//! ```text
//! volumes/     the record of each volume                       share/record.rs
//! claims/      which volume has which directory, and           share/claims/
//! inside/      which volumes are inside of which directory
//! snapshots/   snapshots, each with its record and its tree    share/snapshots/
//! groups/      groups of snapshots
//! nodes/       volumes that exist as long as their pod         nodes/
//! quota/       what the quota agent has done              share/quota.rs
//! processes/   what each process is creating or removing       share/process_dir.rs
//! deleted/     what the reaper removes, and when               share/deleted.rs
//! ```
//!
//! The driver stores everything it knows there. A new record is written to a draft and then linked into place, so it is never incomplete. A
//! record that changes is written in place with one WRITE.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;

use crate::linux::Dir;
use crate::linux::dir::HeldFile;

use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::STATE_DIR;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::deleted::{self, Terms};
use crate::volume::share::process_dir::{ABANDONED_AFTER, Draft, ProcessDir, ProcessDirs, Turn};
use crate::volume::share::record::Record;

/// The folder of the records of volumes.
pub(super) const VOLUMES: &str = "volumes";
/// Only the driver may use the directory, because it contains the data of deleted volumes.
const MODE: u32 = 0o700;

/// The handles of the folders in the state directory, and the directories of this process in it.
#[derive(Debug)]
pub struct StateDir {
    top: Dir,
    pub(super) share: Dir,
    pub(super) volumes: Arc<Dir>,
    /// The other folders that have been used, by name.
    parts: Mutex<HashMap<&'static str, Arc<Dir>>>,
    /// Whether all records are known to have claims.
    pub(super) claims_complete: AtomicBool,
    processes: ProcessDirs,
    abandoned_after: Duration,
}

impl StateDir {
    /// Opens the state directory of a share. Returns `None` if it does not exist. Changes nothing.
    pub fn open(share: &Dir) -> Result<Option<Self>> {
        // Another process may have made it since the client last looked.
        share.fresh()?;
        let opened = share.open_dir(STATE_DIR).and_then(|top| Ok((top.open_dir(VOLUMES)?, top)));
        match opened {
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
            Ok((volumes, top)) => Self::new(share, top, volumes).map(Some),
        }
    }

    /// Opens the state directory of a share. Creates it if it does not exist.
    pub fn create(share: &Dir) -> Result<Self> {
        let top = share.open_or_make_dir(STATE_DIR, MODE)?;
        let volumes = top.open_or_make_dir(VOLUMES, MODE)?;
        // Made early, because a full file system has no room for it when volumes have to be deleted.
        top.open_or_make_dir(deleted::FOLDER, MODE)?;
        Self::new(share, top, volumes)
    }

    fn new(share: &Dir, top: Dir, volumes: Dir) -> Result<Self> {
        let share = share.open_place(".")?.with_label(share.label());
        let (volumes, parts, processes) = (Arc::new(volumes), Mutex::default(), ProcessDirs::default());
        let claims_complete = AtomicBool::new(false);
        Ok(Self { top, share, volumes, parts, claims_complete, processes, abandoned_after: ABANDONED_AFTER })
    }

    /// Sets the time without a sign of life after which another process counts as dead, and this one counts as dead for others.
    #[must_use]
    pub fn with_abandoned_after(self, abandoned_after: Duration) -> Self {
        Self { abandoned_after, ..self }
    }

    pub(super) fn abandoned_after(&self) -> Duration {
        self.abandoned_after
    }

    /// Gives a folder the present time, which shows whether this process may change something. NFS request: SETATTR.
    pub(super) fn touch(&self) -> Result<()> {
        Ok(self.top.touch(VOLUMES)?)
    }

    /// The name of the state directory in messages.
    pub(super) fn label(&self) -> String {
        self.top.label()
    }

    /// Opens the folder `name`. Creates it if it does not exist.
    pub(in crate::volume) fn part(&self, name: &str) -> Result<Dir> {
        Ok(self.top.open_or_make_dir(name, MODE)?)
    }

    /// Opens the folder `name`, if it exists. One GETATTR, and a LOOKUP.
    pub(in crate::volume) fn existing_part(&self, name: &str) -> Result<Option<Dir>> {
        // Another process may have made it since the client last looked.
        self.top.fresh()?;
        match self.top.open_dir(name) {
            Err(error) if error.is_not_found() => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// The first directory of this process. It is created when it is first used, and again after another process has taken this one for dead.
    pub(in crate::volume) fn process(&self) -> Result<Arc<ProcessDir>> {
        self.processes.first(|| ProcessDir::make(&self.top, self.abandoned_after, true))
    }

    /// The directories that this process has.
    pub(super) fn own_processes(&self) -> Vec<Arc<ProcessDir>> {
        self.processes.all()
    }

    /// A directory of this process for steps that many calls do at the same time, which use several directories.
    pub(super) fn process_among_many(&self) -> Result<(Arc<ProcessDir>, Turn<'_>)> {
        let make = |is_first| move || ProcessDir::make(&self.top, self.abandoned_after, is_first);
        self.processes.for_step(make(false), make(true))
    }

    /// Removes the directories of this process. A command calls this before it ends.
    pub fn close(self) -> Result<()> {
        self.leave()
    }

    /// Removes the directories of this process that nothing uses. One is created again when it is needed.
    pub fn leave(&self) -> Result<()> {
        let unused = self.processes.take().into_iter().filter_map(Arc::into_inner);
        unused.map(|process| process.remove()).fold(Ok(()), Result::and)
    }

    /// A new name in the directory of this process, for an entry that is created there and then moved into place. Creates nothing.
    pub(in crate::volume) fn draft(&self, what: &str) -> Result<Draft> {
        Ok(self.process()?.hold_new(what))
    }

    /// A draft that is an empty directory. If another process has removed the directory of this process, a new one is created.
    pub(in crate::volume) fn draft_dir(&self, what: &str, mode: u32) -> Result<(Draft, Dir)> {
        self.with_process(|| {
            let draft = self.draft(what)?;
            let dir = draft.make_dir(mode)?;
            Ok((draft, dir))
        })
    }

    /// Does `work`. Does it a second time if it fails because another process has removed the directory of this process.
    fn with_process<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        match work() {
            Err(error) if error.is_gone() && self.processes.forget_lost() => work(),
            result => result,
        }
    }

    /// Moves a directory or a file to `deleted/`, from where it is removed in the background. `policy` says when and how fast. Returns
    /// `false` if the entry does not exist. NFS requests: one RENAME, and three more for the time of the server if the entry is kept for
    /// some time.
    pub(in crate::volume) fn discard(
        &self,
        from: &Dir,
        name: &str,
        key: &VolumeKey,
        policy: ExportPolicy,
    ) -> Result<bool> {
        let terms = self.terms(policy)?;
        match from.rename(name, &*self.deleted()?, terms.name_of(key)) {
            Err(error) if error.is_not_found() => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }

    pub(super) fn terms(&self, policy: ExportPolicy) -> Result<Terms> {
        let retention = i64::try_from(policy.trash_retention.as_secs()).unwrap_or(i64::MAX);
        let due = if retention == 0 {
            0
        } else {
            let now = self.with_process(|| Ok(self.process()?.server_time()?))?;
            // One second is added, because the time of the server is rounded down.
            now.saturating_add(retention).saturating_add(1)
        };
        let removals_per_second = policy.removals_per_second;
        Ok(Terms { due, removals_per_second, inode: 0, claim: String::new() })
    }

    pub(super) fn deleted(&self) -> Result<Arc<Dir>> {
        self.kept_part(deleted::FOLDER)
    }

    /// Opens the folder `name` once and keeps its handle. Creates the folder if it does not exist.
    pub(super) fn kept_part(&self, name: &'static str) -> Result<Arc<Dir>> {
        if let Some(part) = self.parts.lock().get(name) {
            return Ok(Arc::clone(part));
        }
        let part = Arc::new(self.part(name)?);
        self.parts.lock().insert(name, Arc::clone(&part));
        Ok(part)
    }

    /// Opens the folder of deleted directories as it is on the server now, if it exists.
    pub(super) fn existing_deleted(&self) -> Result<Option<Dir>> {
        let deleted = self.existing_part(deleted::FOLDER)?;
        if let Some(deleted) = &deleted {
            deleted.fresh()?;
        }
        Ok(deleted)
    }

    /// Writes a record to a draft. NFS requests: OPEN, SETATTR (for O_EXCL), ACCESS and WRITE, and CLOSE when the file is dropped.
    pub(super) fn write_draft(&self, key: &VolumeKey, record: &Record) -> Result<(Draft, HeldFile)> {
        self.with_process(|| {
            let (process, _turn) = self.process_among_many()?;
            let draft = process.hold_new(key.as_str());
            match draft.write(&record.to_json()) {
                Ok(file) => Ok((draft, file)),
                // The usual reason is a full disk, and the empty draft must not use space, too.
                Err(reason) => Err(reason.with_cleanup(draft.remove())),
            }
        })
    }
}

/// An empty share for tests, in a directory of this machine.
#[cfg(test)]
pub(in crate::volume) struct TestShare {
    pub(in crate::volume) temporary: tempfile::TempDir,
    pub(in crate::volume) dir: Dir,
    pub(in crate::volume) state: StateDir,
}

#[cfg(test)]
impl TestShare {
    pub(in crate::volume) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        let state = StateDir::create(&dir).unwrap();
        Self { temporary, dir, state }
    }
}
