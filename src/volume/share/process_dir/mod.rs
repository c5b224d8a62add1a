//! The directory of a process on a share: `processes/<host>.<unique>/`.
//!
//! It contains what the process is creating or removing, under names that no other process uses. While there is such an entry, the process
//! touches the file `alive` beside it every few seconds. Another process that sees an entry for some time, and `alive` unchanged all that
//! time, takes the entry over by renaming it (`abandoned.rs`). The last step of the process that creates something renames the entry too,
//! so it fails if the process was taken for dead. So no draft is both finished and removed.

mod draft;
mod pool;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use serde::{Deserialize, Serialize};

use crate::linux::{Dir, SysError, Time, host_name, unique_text};

use crate::volume::error::{Error, Result};

pub use draft::drafts_of_volume;
pub(in crate::volume) use draft::{Draft, draft_of_volume};
pub(in crate::volume::share) use pool::{ProcessDirs, Turn};

/// The folder of the state directory in which the processes have their directories.
pub(in crate::volume::share) const FOLDER: &str = "processes";
/// A complete directory of a process that nobody uses, in the state directory.
const SPARE: &str = "spare";
/// The file that is the sign of life.
pub(in crate::volume::share) const ALIVE: &str = "alive";
/// A process without a sign of life counts as dead after this time, unless the command line sets another time.
pub const ABANDONED_AFTER: Duration = Duration::from_mins(1);
/// How many signs of life a process gives in the time after which it counts as dead. So several may be late or lost.
const SIGNS: u32 = 6;
/// Only the driver may use these directories.
const MODE: u32 = 0o700;
/// How many bytes of the host name are in the name of the directory of a process.
const LONGEST_HOST: usize = 64;

/// The content of `alive`. A later version may add fields.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::volume::share) struct Sign {
    /// The process counts as dead when the file has not changed for this many milliseconds.
    pub(in crate::volume::share) abandoned_after_ms: u64,
}

impl Sign {
    /// The content of the file of a process or a node that counts as dead after this time.
    pub(in crate::volume::share) fn for_silence_of(abandoned_after: Duration) -> String {
        let abandoned_after_ms = u64::try_from(abandoned_after.as_millis()).unwrap_or(u64::MAX);
        serde_json::json!(Self { abandoned_after_ms }).to_string()
    }
}

/// The directory of this process on one share.
#[derive(Debug)]
pub(in crate::volume) struct ProcessDir {
    own: Arc<Own>,
    /// When this is dropped, the thread that gives the signs of life ends. `None` if the thread could not be started yet.
    signs: Mutex<Option<Sender<()>>>,
    interval: Duration,
    /// When the directory was last known to exist.
    seen: Mutex<Instant>,
}

#[derive(Debug)]
struct Own {
    processes: Dir,
    dir: Dir,
    name: String,
    held: Mutex<HashSet<String>>,
    lost: AtomicBool,
}

impl ProcessDir {
    /// Creates the directory below the state directory `top`. NFS requests: LOOKUP and ACCESS of the folder, MKDIR, ACCESS, 5 to write
    /// `alive`, and GETATTR and LOOKUP for the spare directory.
    ///
    /// If the file system is full, the first directory of a process is the spare one, which needs no space. Without a directory the process
    /// could not delete the volumes that fill the file system.
    pub(in crate::volume::share) fn make(
        top: &Dir,
        abandoned_after: Duration,
        is_first: bool,
    ) -> Result<Arc<Self>> {
        let processes = top.open_or_make_dir(FOLDER, MODE)?;
        let name = format!("{}.{}", plain(&host_name()), unique_text());
        let own = match Own::make(&processes, &name, abandoned_after) {
            Err(error) if is_first && error.is_full() => {
                let taken = top.rename(SPARE, &processes, &name).and_then(|()| Own::open(&processes, &name));
                taken.map_err(|_| error)
            }
            made => made,
        };
        let own = Arc::new(own?);
        let process = Self {
            own,
            signs: Mutex::default(),
            interval: abandoned_after / SIGNS,
            seen: Mutex::new(Instant::now()),
        };
        process.start_signs();
        let process = Arc::new(process);
        if is_first && let Err(error) = process.keep_spare(top, abandoned_after) {
            tracing::debug!(%error, "there is no spare directory for a time when the export is full");
        }
        Ok(process)
    }

    /// Makes the spare directory, if there is none.
    fn keep_spare(self: &Arc<Self>, top: &Dir, abandoned_after: Duration) -> Result<()> {
        if top.fresh_entry(SPARE)?.is_some() {
            return Ok(());
        }
        let draft = self.hold(format!("{SPARE}.{}", unique_text()));
        let made = Own::make(self.dir(), draft.name(), abandoned_after);
        // Of several processes that make one at once, one succeeds: the directories are not empty.
        match made.and_then(|_| self.dir().rename(draft.name(), top, SPARE)) {
            Ok(()) => Ok(()),
            Err(error) if error.is_not_empty() => draft.remove(),
            Err(error) => Err(Error::from(error).with_cleanup(draft.remove())),
        }
    }

    /// Starts the thread that gives the signs of life, unless it runs already. Without the thread, other processes may take this one for
    /// dead. Then its copies fail, but no data is lost. The next draft tries again to start the thread.
    fn start_signs(&self) {
        let mut signs = self.signs.lock();
        if signs.is_some() {
            return;
        }
        let (ends, ended) = channel();
        let (own, interval) = (Arc::clone(&self.own), self.interval);
        let thread = std::thread::Builder::new().name("alive".to_owned());
        match thread.spawn(move || own.live(&ended, interval)) {
            Ok(_) => *signs = Some(ends),
            Err(error) => tracing::warn!(%error, "cannot start the thread that gives signs of life"),
        }
    }

    /// Removes the directory, which must be empty. When this value is dropped, the same happens in the background.
    pub(in crate::volume::share) fn remove(&self) -> Result<()> {
        self.lose();
        self.own.end()
    }

    /// The name of the directory in the folder of processes.
    pub(in crate::volume::share) fn name(&self) -> &str {
        &self.own.name
    }

    /// The handle of the directory.
    pub(in crate::volume::share) fn dir(&self) -> &Dir {
        &self.own.dir
    }

    /// Whether another process has taken this one for dead. Then this process needs a new directory.
    pub(in crate::volume::share) fn is_lost(&self) -> bool {
        self.own.lost.load(Ordering::SeqCst)
    }

    /// Whether the directory can be used. If it has not been used for some time, this asks the server, because another process may have
    /// removed the directory.
    pub(in crate::volume::share) fn is_there(&self) -> bool {
        let mut seen = self.seen.lock();
        if seen.elapsed() > self.interval * SIGNS {
            match self.dir().fresh_entry(ALIVE) {
                Ok(Some(_)) => {}
                // The next use of the directory fails for the same reason and reports it.
                Err(error) if !error.is_not_found() && !error.is_stale() => {}
                _ => self.lose(),
            }
        }
        *seen = Instant::now();
        !self.is_lost()
    }

    /// Records that an entry, or the directory itself, does not exist any more.
    pub(in crate::volume::share) fn lose(&self) {
        self.own.lost.store(true, Ordering::SeqCst);
    }

    /// The present time of the server in seconds since 1970. Three NFS requests: SETATTR, and GETATTR twice.
    pub(in crate::volume::share) fn server_time(&self) -> Result<i64, SysError> {
        self.dir().touch(ALIVE).inspect_err(|error| self.note(error))?;
        let status = self.dir().fresh_entry(ALIVE)?;
        Ok(status.map_or(0, |status| status.attributes.mtime.seconds))
    }

    /// The entries that no draft of this process uses. They are left from a step that failed and whose cleanup failed, too.
    pub(in crate::volume::share) fn left_behind(&self) -> Result<Vec<String>> {
        let entries = self.dir().entries(usize::MAX)?;
        let held = self.own.held.lock();
        let names = entries.into_iter().filter_map(|entry| entry.name.into_string().ok());
        Ok(names.filter(|name| name != ALIVE && !held.contains(name)).collect())
    }

    /// Reserves a name in the directory that begins with `what`, and that nothing has had before.
    pub(in crate::volume::share) fn hold_new(self: &Arc<Self>, what: &str) -> Draft {
        self.hold(format!("{what}.{}", unique_text()))
    }

    /// Reserves the name `name` in the directory for a new entry. No other process uses it.
    pub(in crate::volume::share) fn hold(self: &Arc<Self>, name: String) -> Draft {
        self.own.held.lock().insert(name.clone());
        self.start_signs();
        Draft::new(Arc::clone(self), name)
    }

    fn note(&self, error: &SysError) {
        if error.is_not_found() || error.is_stale() {
            self.lose();
        }
    }
}

impl Own {
    /// Makes a directory with a sign of life in it, or nothing.
    fn make(processes: &Dir, name: &str, abandoned_after: Duration) -> Result<Self, SysError> {
        processes.make_dir(name, MODE)?;
        let own = Self::open(processes, name)?;
        match own.dir.create_file(ALIVE, Sign::for_silence_of(abandoned_after).as_bytes()) {
            Ok(()) => Ok(own),
            Err(error) => {
                if let Err(failed) = own.end() {
                    tracing::warn!(error = %failed, "cannot remove a directory that is not complete");
                }
                Err(error)
            }
        }
    }

    fn open(processes: &Dir, name: &str) -> Result<Self, SysError> {
        Ok(Self {
            processes: processes.open_dir(".")?,
            dir: processes.open_dir(name)?,
            name: name.to_owned(),
            held: Mutex::default(),
            lost: AtomicBool::new(false),
        })
    }

    /// Gives signs of life while the directory has entries. Removes the directory when the process does not need it any more.
    fn live(&self, ended: &Receiver<()>, interval: Duration) {
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            if self.held.lock().is_empty() {
                continue;
            }
            if let Err(error) = self.dir.touch(ALIVE) {
                tracing::warn!(%error, "cannot give a sign of life");
                if error.is_not_found() || error.is_stale() {
                    self.lost.store(true, Ordering::SeqCst);
                }
            }
        }
        if let Err(error) = self.end() {
            tracing::debug!(%error, "cannot remove the directory of this process; another process will remove it");
        }
    }

    fn end(&self) -> Result<()> {
        for removed in [self.dir.remove_file(ALIVE), self.processes.remove_dir(&self.name)] {
            match removed {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The time of the sign of life in the directory of a process. The process is alive if this changes.
pub(in crate::volume::share) fn sign_of(dir: &Dir) -> Result<Option<Time>, SysError> {
    Ok(dir.fresh_entry(ALIVE)?.map(|status| status.attributes.mtime))
}

/// The name of a host or of a node in a form that can be a part of a file name.
pub(super) fn plain(host: &str) -> String {
    let is_plain = |byte: &char| byte.is_ascii_alphanumeric() || *byte == '-';
    host.chars().filter(is_plain).take(LONGEST_HOST).collect()
}

#[cfg(test)]
mod tests;
