//! Deleted volumes: their directories are moved aside in one rename, and emptied in the background.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::linux::dir::Entry;
use crate::linux::remove::{Pace, remove_tree};
use crate::linux::{Dir, unique};

use crate::volume::name::handle::VolumeKey;
use crate::volume::policy::settings::ExportPolicy;

/// How long after a sweep that left something behind the next one begins.
const RETRY: Duration = Duration::from_mins(1);

/// The name that the directory of `key` gets in the trash: none was ever called so.
#[must_use]
pub fn name_of(key: &VolumeKey) -> String {
    format!("{key}.{:x}", unique())
}

/// Empties one trash, in a thread of its own: what hangs there hangs nothing else. It ends when this value is
/// dropped and the sweep under way is over. Whatever a killed driver left is found by the next one's first sweep.
pub struct Reaper {
    wake: Sender<ExportPolicy>,
    pending: Arc<AtomicBool>,
}

impl Reaper {
    /// Begins with a first sweep of the trash, and of drafts in `work` that were begun before `process_began` (a number
    /// of [`unique`]): a killed driver left them.
    #[must_use]
    pub fn start(trash: Arc<Dir>, work: Arc<Dir>, process_began: u64) -> Self {
        let (wake, woken) = channel();
        let pending = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&pending);
        let begun = std::thread::Builder::new().name("reaper".to_owned()).spawn(move || {
            discard_drafts(&work, process_began);
            run(&trash, &woken, &own);
        });
        if let Err(error) = begun {
            tracing::error!(%error, "cannot start the reaper: deleted volumes stay in the trash until the next try");
        }
        Self { wake, pending }
    }

    /// Says that there is something new in the trash, and how it is to be treated.
    pub fn wake(&self, policy: ExportPolicy) {
        self.pending.store(true, Ordering::SeqCst);
        // An error means that the thread could not be started, which has been said.
        let _ = self.wake.send(policy);
    }

    /// Whether there is something in the trash, for all that is known.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }
}

fn run(trash: &Dir, woken: &Receiver<ExportPolicy>, pending: &AtomicBool) {
    let mut policy = ExportPolicy::default();
    // How long until the next sweep, unless somebody wakes the thread before.
    let mut pause = None;
    loop {
        let next = match pause {
            None => woken.recv().map_err(RecvTimeoutError::from),
            Some(pause) => woken.recv_timeout(pause),
        };
        match next {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(wanted) => policy = wanted,
        }
        // Several deletions need one sweep.
        while let Ok(wanted) = woken.try_recv() {
            policy = wanted;
        }
        // Set before the sweep looks: what comes after it looked sets it again.
        pending.store(false, Ordering::SeqCst);
        pause = sweep(trash, policy);
        if pause.is_some() {
            pending.store(true, Ordering::SeqCst);
        }
    }
}

/// Removes what has been in the trash for the retention time. Answers when to look again; `None` if nothing is left.
fn sweep(trash: &Dir, policy: ExportPolicy) -> Option<Duration> {
    let entries = match trash.entries(usize::MAX) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(%error, "cannot read the trash");
            return Some(RETRY);
        }
    };
    let pace = Pace::new(policy.removals_per_second);
    let pauses = entries.iter().map(|entry| match remaining(&entry.name, policy.trash_retention) {
        Some(remaining) => Some(remaining),
        None => (!remove_one(trash, &entry.name, &pace)).then_some(RETRY),
    });
    pauses.flatten().min()
}

/// Removes drafts that were begun before this process: nobody alive works on them. Should another controller, which is
/// on its way out, still do so, its call fails and is asked again.
fn discard_drafts(work: &Dir, process_began: u64) {
    let is_old = |entry: &Entry| stamp(&entry.name).is_some_and(|stamp| stamp < process_began);
    let result = work.entries(usize::MAX).map(|entries| {
        for entry in entries.iter().filter(|entry| is_old(entry)) {
            remove_one(work, &entry.name, &Pace::new(None));
        }
    });
    if let Err(error) = result {
        tracing::warn!(%error, "cannot look for drafts");
    }
}

/// The time in a name of the form `<key>.<hex>`: nanoseconds since 1970 ([`unique`]).
fn stamp(name: &OsStr) -> Option<u64> {
    u64::from_str_radix(name.to_str()?.rsplit_once('.')?.1, 16).ok()
}

/// For how long an entry is still to be kept, by the time in its name. `None`: it may go.
fn remaining(name: &OsStr, retention: Duration) -> Option<Duration> {
    let deleted = Duration::from_nanos(stamp(name)?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    retention.checked_sub(now.saturating_sub(deleted)).filter(|remaining| !remaining.is_zero())
}

fn remove_one(trash: &Dir, name: &OsStr, pace: &Pace) -> bool {
    match remove_tree(trash, name, pace) {
        Ok(()) => {
            tracing::info!(trash = %trash.label(), name = %name.display(), "removed");
            true
        }
        Err(failures) => {
            let first = failures.first().map(ToString::to_string).unwrap_or_default();
            let count = failures.len();
            tracing::warn!(trash = %trash.label(), name = %name.display(), count, first, "not all could be removed");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_reaper_empties_what_an_earlier_one_left() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temporary.path().join("v.1/deep/er")).unwrap();
        std::fs::write(temporary.path().join("v.1/file"), "x").unwrap();
        let trash = Arc::new(Dir::open(temporary.path()).unwrap());
        let work = tempfile::tempdir().unwrap();
        std::fs::create_dir(work.path().join("v.2")).unwrap();
        let work_dir = Arc::new(Dir::open(work.path()).unwrap());
        let reaper = Reaper::start(Arc::clone(&trash), work_dir, unique());
        reaper.wake(ExportPolicy::default());
        let empty = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(25));
            trash.entries(1).unwrap().is_empty() && !work.path().join("v.2").exists() && !reaper.is_pending()
        });
        assert!(empty);
    }

    #[test]
    fn what_is_to_be_kept_is_kept_until_its_time() {
        let temporary = tempfile::tempdir().unwrap();
        let young = name_of(&VolumeKey::of_name("young"));
        for name in ["old.1", young.as_str()] {
            std::fs::create_dir(temporary.path().join(name)).unwrap();
        }
        let trash = Dir::open(temporary.path()).unwrap();
        let kept = ExportPolicy { trash_retention: Duration::from_hours(1), ..ExportPolicy::default() };
        let pause = sweep(&trash, kept).unwrap();
        assert!(pause > Duration::from_mins(59) && pause <= Duration::from_hours(1), "{pause:?}");
        let names: Vec<_> = trash.entries(10).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, [young.as_str()]);
        assert_eq!(sweep(&trash, ExportPolicy::default()), None);
    }
}
