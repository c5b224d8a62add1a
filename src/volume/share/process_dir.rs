//! The directory of a process on a share: `processes/<host>.<unique>/`.
//!
//! It contains what the process is creating or removing, under names that no other process uses. While there is such an entry, the process
//! touches the file `alive` beside it every few seconds. Another process that sees an entry for some time, and `alive` unchanged all that
//! time, takes the entry over by renaming it (`abandoned.rs`). The last step of the process that creates something renames the entry too,
//! so it fails if the process was taken for dead. So no draft is both finished and removed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use serde::{Deserialize, Serialize};

use crate::linux::dir::HeldFile;
use crate::linux::remove::{Pace, remove_tree};
use crate::linux::{Dir, SysError, Time, host_name, unique_text};

use crate::volume::error::{Error, Result, explain_denied, several};

/// The folder of the state directory in which the processes have their directories.
pub(super) const FOLDER: &str = "processes";
/// The file that is the sign of life.
pub(super) const ALIVE: &str = "alive";
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
pub(super) struct Sign {
    /// The process counts as dead when the file has not changed for this many milliseconds.
    pub(super) abandoned_after_ms: u64,
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
    /// Creates the directory below the state directory `top`. NFS requests: LOOKUP and ACCESS of the folder, MKDIR, ACCESS,
    /// and 5 to write `alive`.
    pub(super) fn make(top: &Dir, abandoned_after: Duration) -> Result<Arc<Self>> {
        let processes = top.open_or_make_dir(FOLDER, MODE).map_err(explain_denied)?;
        let name = format!("{}.{}", plain(&host_name()), unique_text());
        processes.make_dir(&name, MODE).map_err(explain_denied)?;
        let dir = processes.open_dir(&name).map_err(explain_denied)?;
        let abandoned_after_ms = u64::try_from(abandoned_after.as_millis()).unwrap_or(u64::MAX);
        let sign = serde_json::json!(Sign { abandoned_after_ms }).to_string();
        let written = dir.create_file(ALIVE, sign.as_bytes()).map_err(explain_denied);
        let own =
            Arc::new(Own { processes, dir, name, held: Mutex::default(), lost: AtomicBool::new(false) });
        if let Err(reason) = written {
            return Err(reason.with_cleanup(own.end()));
        }
        let process = Self {
            own,
            signs: Mutex::default(),
            interval: abandoned_after / SIGNS,
            seen: Mutex::new(Instant::now()),
        };
        process.start_signs();
        Ok(Arc::new(process))
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
    pub(super) fn remove(&self) -> Result<()> {
        self.lose();
        self.own.end()
    }

    /// The name of the directory in the folder of processes.
    pub(super) fn name(&self) -> &str {
        &self.own.name
    }

    /// The handle of the directory.
    pub(super) fn dir(&self) -> &Dir {
        &self.own.dir
    }

    /// Whether another process has taken this one for dead. Then this process needs a new directory.
    pub(super) fn is_lost(&self) -> bool {
        self.own.lost.load(Ordering::SeqCst)
    }

    /// Whether the directory can be used. If it has not been used for some time, this asks the server, because another process may have
    /// removed the directory.
    pub(super) fn is_there(&self) -> bool {
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
    pub(super) fn lose(&self) {
        self.own.lost.store(true, Ordering::SeqCst);
    }

    /// The present time of the server in seconds since 1970. Three NFS requests: SETATTR, and GETATTR twice.
    pub(super) fn server_time(&self) -> Result<i64, SysError> {
        self.dir().touch(ALIVE).inspect_err(|error| self.note(error))?;
        let status = self.dir().fresh_entry(ALIVE)?;
        Ok(status.map_or(0, |status| status.attributes.mtime.seconds))
    }

    /// The entries that no draft of this process uses. They are left from a step that failed and whose cleanup failed, too.
    pub(super) fn left_behind(&self) -> Result<Vec<String>> {
        let entries = self.dir().entries(usize::MAX)?;
        let held = self.own.held.lock();
        let names = entries.into_iter().filter_map(|entry| entry.name.into_string().ok());
        Ok(names.filter(|name| name != ALIVE && !held.contains(name)).collect())
    }

    /// Reserves the name `name` in the directory for a new entry. No other process uses it.
    pub(super) fn hold(self: &Arc<Self>, name: String) -> Draft {
        self.own.held.lock().insert(name.clone());
        self.start_signs();
        Draft { process: Arc::clone(self), name, inode: OnceLock::new() }
    }

    fn note(&self, error: &SysError) {
        if error.is_not_found() || error.is_stale() {
            self.lose();
        }
    }
}

impl Own {
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

/// An entry that this process is creating or removing in its directory. The process gives signs of life until this is dropped.
#[derive(Debug)]
pub(in crate::volume) struct Draft {
    process: Arc<ProcessDir>,
    name: String,
    /// The inode number of the directory, once it has been created.
    inode: OnceLock<u64>,
}

impl Draft {
    /// The directory that the entry is in.
    pub(in crate::volume) fn dir(&self) -> &Dir {
        self.process.dir()
    }

    /// The name of the entry.
    pub(in crate::volume) fn name(&self) -> &str {
        &self.name
    }

    /// Creates the entry as a directory. Two NFS requests: MKDIR and ACCESS.
    pub(in crate::volume) fn make_dir(&self, mode: u32) -> Result<Dir> {
        let opened = self.dir().make_dir(&self.name, mode).and_then(|()| self.dir().open_dir(&self.name));
        let dir = opened.inspect_err(|error| self.process.note(error)).map_err(explain_denied)?;
        let _ = self.inode.set(dir.inode()?);
        Ok(dir)
    }

    /// Creates the entry as a file with this content, and keeps the file open.
    pub(super) fn write(&self, content: &[u8]) -> Result<HeldFile> {
        self.dir()
            .create_held(&self.name, content)
            .inspect_err(|error| self.process.note(error))
            .map_err(explain_denied)
    }

    /// Moves the finished directory to its place, with one RENAME. An empty directory in that place is replaced. Fails with [`Error::Busy`]
    /// if another process has taken this one for dead.
    ///
    /// If RENAME returns an error, it may have been done nevertheless: when the reply is lost, the client sends the request again, and
    /// the second one finds nothing to rename. So after an error, the inode number of the entry in that place decides.
    pub(in crate::volume) fn place(&self, to: &Dir, name: &str) -> Result<()> {
        let Err(error) = self.dir().rename(&self.name, to, name) else { return Ok(()) };
        let placed = to.fresh_entry(name).ok().flatten();
        if placed.is_some_and(|placed| self.inode.get() == Some(&placed.inode)) {
            return Ok(());
        }
        self.process.note(&error);
        if error.is_not_found() {
            return Err(Error::Busy(format!(
                "{error}: another process took this one for dead and removed what was being created; ask again"
            )));
        }
        Err(error.into())
    }

    /// Removes the entry, which is a file, with one REMOVE.
    pub(super) fn remove_file(&self) -> Result<()> {
        match self.dir().remove_file(&self.name) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Removes the entry with everything in it. If something cannot be removed, this is an error, and the reaper removes it later.
    pub(in crate::volume) fn remove(&self) -> Result<()> {
        self.remove_at(&Pace::new(None))
    }

    pub(super) fn remove_at(&self, pace: &Pace) -> Result<()> {
        remove_tree(self.dir(), self.name.as_ref(), pace)
            .map_err(|failures| several(failures.into_iter().map(Error::from).collect()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.process.own.held.lock().remove(&self.name);
    }
}

/// The time of the sign of life in the directory of a process. The process is alive if this changes.
pub(super) fn sign_of(dir: &Dir) -> Result<Option<Time>, SysError> {
    Ok(dir.fresh_entry(ALIVE)?.map(|status| status.attributes.mtime))
}

/// The name of a host or of a node in a form that can be a part of a file name.
pub(super) fn plain(host: &str) -> String {
    let is_plain = |byte: &char| byte.is_ascii_alphanumeric() || *byte == '-';
    host.chars().filter(is_plain).take(LONGEST_HOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..500 {
            if is_so() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not within 5 s: {what}");
    }

    #[test]
    fn signs_of_life_are_given_while_something_is_held_and_the_directory_goes_in_the_end() {
        let temporary = tempfile::tempdir().unwrap();
        let top = Dir::open(temporary.path()).unwrap();
        let process = ProcessDir::make(&top, Duration::from_millis(60)).unwrap();
        let draft = process.hold("draft".to_owned());
        draft.make_dir(0o700).unwrap();
        let first = sign_of(process.dir()).unwrap().unwrap();
        wait_until("a sign", || sign_of(process.dir()).unwrap().unwrap() > first);
        assert_eq!(process.left_behind().unwrap(), Vec::<String>::new());
        draft.remove().unwrap();
        drop(draft);
        let folder = temporary.path().join(FOLDER);
        assert_eq!(folder.read_dir().unwrap().count(), 1);
        drop(process);
        wait_until("the directory is removed", || folder.read_dir().unwrap().next().is_none());
    }

    #[test]
    fn a_draft_that_was_taken_away_cannot_be_placed() {
        let temporary = tempfile::tempdir().unwrap();
        let top = Dir::open(temporary.path()).unwrap();
        let process = ProcessDir::make(&top, ABANDONED_AFTER).unwrap();
        let draft = process.hold("draft".to_owned());
        draft.make_dir(0o700).unwrap();
        process.dir().rename("draft", &top, "taken").unwrap();
        assert!(matches!(draft.place(&top, "volume"), Err(Error::Busy(_))));
        assert!(process.is_lost());
        assert!(!temporary.path().join("volume").exists());
    }

    #[test]
    fn what_is_not_held_any_more_is_left_behind() {
        let temporary = tempfile::tempdir().unwrap();
        let process = ProcessDir::make(&Dir::open(temporary.path()).unwrap(), ABANDONED_AFTER).unwrap();
        process.hold("draft".to_owned()).write(b"x").unwrap();
        assert_eq!(process.left_behind().unwrap(), ["draft"]);
    }
}
