//! The thread that removes what is deleted and what is abandoned on a share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::linux::Dir;

use crate::volume::error::Result;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::abandoned::Sightings;
use crate::volume::share::deleted::Terms;
use crate::volume::share::left::{Round, put_back, remove, remove_left, sweep_own};
use crate::volume::share::legacy;
use crate::volume::share::nodes::silent::SilentNodes;
use crate::volume::share::state_dir::StateDir;

/// When something could not be removed, the next sweep begins after this time.
const RETRY: Duration = Duration::from_mins(1);
/// The removal of one directory is interrupted after this time, so that the others have their turns. A volume with millions of files, or with
/// very deep directories, does not keep the space of others.
const TURN: Duration = Duration::from_secs(5);
/// How often a reaper looks at the other processes in the time after which a silent process counts as dead.
const LOOKS: u32 = 4;

/// Removes the deleted directories of one share in a thread of its own, so that a server that hangs stops nothing else. When this value
/// is dropped, the thread ends after its present sweep.
///
/// Any number of reapers of any number of processes work on one share at the same time. A reaper first renames what it removes to the
/// directory of its own process. So each entry is removed by one reaper. If its process is killed, another one takes the entry over.
pub(super) struct Reaper {
    wake: Sender<Option<ExportPolicy>>,
    pending: Arc<AtomicBool>,
}

impl Reaper {
    /// Starts the thread.
    pub(super) fn start(state: Arc<StateDir>) -> std::io::Result<Self> {
        let (wake, woken) = channel();
        let pending = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&pending);
        std::thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || Work::new(state).run(&woken, &own))?;
        Ok(Self { wake, pending })
    }

    /// Starts a sweep. `legacy` is the policy for what version 0.1.0 has deleted. With `None` the sweep uses the policy of an earlier call,
    /// or leaves those directories alone if there was none.
    /// `false`: the thread has ended, because it has panicked. Another one is needed.
    #[must_use]
    pub(super) fn wake(&self, legacy: Option<ExportPolicy>) -> bool {
        self.pending.store(true, Ordering::SeqCst);
        // The thread ends only after this value is dropped, unless it has panicked.
        let lives = self.wake.send(legacy).is_ok();
        if !lives {
            tracing::error!(
                "the driver has a bug: its reaper has ended, and deleted volumes stay until the next deletion starts another one"
            );
        }
        lives
    }

    /// A function that starts a sweep as [`Self::wake`] does. The reaper can be dropped before it is called.
    pub(super) fn waker(&self) -> impl FnOnce(Option<ExportPolicy>) + Send + use<> {
        let (wake, pending) = (self.wake.clone(), Arc::clone(&self.pending));
        move |legacy| {
            pending.store(true, Ordering::SeqCst);
            // If its thread has panicked, the next deletion starts another one.
            let _ = wake.send(legacy);
        }
    }

    /// Whether something is left to remove, as far as this process knows.
    #[must_use]
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }
}

struct Work {
    state: Arc<StateDir>,
    sightings: Sightings,
    silent: SilentNodes,
    legacy: Option<ExportPolicy>,
}

impl Work {
    fn new(state: Arc<StateDir>) -> Self {
        Self { state, sightings: Sightings::default(), silent: SilentNodes::default(), legacy: None }
    }

    fn run(&mut self, woken: &Receiver<Option<ExportPolicy>>, pending: &AtomicBool) {
        // The time until the next sweep, unless somebody wakes the thread earlier.
        let mut pause = None;
        loop {
            let next = match pause {
                None => woken.recv().map_err(RecvTimeoutError::from),
                Some(pause) => woken.recv_timeout(pause),
            };
            match next {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(legacy) => self.legacy = legacy.or(self.legacy),
            }
            // One sweep is enough for several deletions.
            while let Ok(legacy) = woken.try_recv() {
                self.legacy = legacy.or(self.legacy);
            }
            // This comes before the sweep, so that whatever is deleted during the sweep sets it again.
            pending.store(false, Ordering::SeqCst);
            pause = self.sweep();
            if pause.is_some() {
                pending.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Removes what may be removed. Returns the time until the next sweep, or `None` if nothing is left.
    fn sweep(&mut self) -> Option<Duration> {
        let (state, mut round, mut pauses) =
            (Arc::clone(&self.state), Round { turn: Some(TURN), ..Round::default() }, Vec::new());
        for findings in [self.sightings.look(&state), self.silent.look(&state)] {
            match findings {
                Ok(findings) => {
                    remove_left(&state, findings.taken, &mut round);
                    round.failures.extend(findings.failures);
                    pauses.extend(findings.more.then(|| state.abandoned_after() / LOOKS));
                }
                Err(error) => round.failures.push(error),
            }
        }
        if let Err(error) = sweep_own(&state, &mut round) {
            round.failures.push(error);
        }
        match sweep_deleted(&state, &mut round) {
            Ok(pause) => pauses.extend(pause),
            Err(error) => round.failures.push(error),
        }
        if let Some(policy) = self.legacy {
            let (left, more) = legacy::sweep(&state, policy);
            pauses.extend(left.then_some(RETRY));
            round.failures.extend(more);
        }
        pauses.extend(round.is_interrupted.then_some(Duration::ZERO));
        if let Some(first) = round.failures.first() {
            let share = state.label();
            tracing::warn!(share, count = round.failures.len(), %first, "some of what is deleted could not be removed; the driver tries again");
            pauses.push(RETRY);
        }
        pauses.into_iter().min()
    }
}

/// Removes the deleted directories that are due. Returns the time until the next one is due.
fn sweep_deleted(state: &StateDir, round: &mut Round) -> Result<Option<Duration>> {
    let Some(deleted) = state.existing_deleted()? else { return Ok(None) };
    let mut now = None;
    let mut next: Option<i64> = None;
    for entry in deleted.entries(usize::MAX)? {
        let Some((name, terms)) = entry.name.to_str().and_then(|name| Some((name, Terms::parse(name)?)))
        else {
            continue;
        };
        if terms.due > 0 {
            let now = match now {
                Some(now) => now,
                None => *now.insert(state.process()?.server_time()?),
            };
            if terms.due > now {
                next = Some(next.map_or(terms.due - now, |next| next.min(terms.due - now)));
                continue;
            }
        }
        remove_entry(state, &deleted, name, entry.inode, &terms, round)?;
    }
    Ok(next.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
}

/// Removes a deleted directory, or puts it back if it is not the one that was meant.
pub(super) fn remove_entry(
    state: &StateDir,
    deleted: &Dir,
    name: &str,
    inode: u64,
    terms: &Terms,
    round: &mut Round,
) -> Result<()> {
    if terms.inode != 0 && inode != terms.inode {
        if let Err(error) = put_back(state, deleted, name, terms) {
            round.failures.push(error);
        }
        return Ok(());
    }
    let draft = state.process()?.hold(name.to_owned());
    match deleted.rename(name, draft.dir(), draft.name()) {
        Ok(()) => remove(state, &draft, round),
        // Another reaper was faster.
        Err(error) if error.is_not_found() => {}
        Err(error) => round.failures.push(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::handle::VolumeKey;

    struct Share {
        temporary: tempfile::TempDir,
        dir: Dir,
        state: Arc<StateDir>,
    }

    fn share() -> Share {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        let state = StateDir::create(&dir).unwrap().with_abandoned_after(Duration::from_millis(50));
        Share { temporary, dir, state: Arc::new(state) }
    }

    impl Share {
        fn delete(&self, name: &str, retention: Duration) {
            std::fs::create_dir_all(self.temporary.path().join(name).join("deep")).unwrap();
            let policy = ExportPolicy { trash_retention: retention, ..ExportPolicy::default() };
            self.state.discard(&self.dir, name, &VolumeKey::of_name(name), policy).unwrap();
        }

        fn deleted(&self) -> Vec<String> {
            let entries = self.state.existing_deleted().unwrap().unwrap().entries(10).unwrap();
            entries.into_iter().map(|entry| entry.name.into_string().unwrap()).collect()
        }

        fn work(&self) -> Work {
            Work::new(Arc::clone(&self.state))
        }
    }

    #[test]
    fn what_is_due_is_removed_whoever_deleted_it() {
        let share = share();
        share.delete("v", Duration::ZERO);
        let other = StateDir::create(&share.dir).unwrap();
        let reaper = Reaper::start(Arc::new(other)).unwrap();
        assert!(reaper.wake(None));
        let empty = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(25));
            share.deleted().is_empty() && !reaper.is_pending()
        });
        assert!(empty);
    }

    #[test]
    fn retention_is_the_entrys_own_and_other_deletions_do_not_end_it() {
        let share = share();
        share.delete("kept", Duration::from_hours(1));
        share.delete("gone", Duration::ZERO);
        let pause = share.work().sweep().unwrap();
        assert!(pause > Duration::from_mins(59) && pause <= Duration::from_secs(3601), "{pause:?}");
        let left = share.deleted();
        assert!(left.len() == 1 && left[0].starts_with("kept."), "{left:?}");
    }
}
