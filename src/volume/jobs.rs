//! Copies that are running. A copy may take longer than the call that started it. A retry of the call finds the copy again. If what a
//! copy makes is deleted meanwhile, the copy is cancelled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::linux::copy::Progress;

use crate::volume::error::{Error, Result};

/// How many copies run at the same time, unless the configuration sets another number. Each sends several requests to its server at
/// the same time, so that more copies at once would only make all of them slower. The others wait.
pub const AT_ONCE: usize = 4;
/// How many failures are kept until a retry asks for them. When there are more, all are forgotten, and a retry starts the copy again.
const MOST_FAILURES: usize = 1000;
/// How long a deletion waits until a cancelled copy has ended. After that it answers that the caller should ask again.
const TIME_TO_END: Duration = Duration::from_secs(5);

/// All copies of this process. The key is the handle of the volume or snapshot that the copy makes.
#[derive(Default)]
pub struct CopyJobs {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the jobs change the group of trees instead of copying them. This matters for messages only.
    of_groups: bool,
}

struct State {
    jobs: HashMap<String, Arc<CopyJob>>,
    /// Why copies failed about which no caller has asked yet. A successful copy leaves no entry here, because a retry finds what
    /// the copy has made.
    failures: HashMap<String, Error>,
    running: usize,
    at_once: usize,
    /// What the copies that have ended have done.
    ended: Totals,
}

/// What the copies of a process have done since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Copies that run now.
    pub running: usize,
    /// Copies that wait for others.
    pub waiting: usize,
    /// Copies that were completed.
    pub completed: u64,
    /// Copies that failed or were cancelled.
    pub failed: u64,
    /// Files that were copied, those of running copies included.
    pub files: u64,
    /// Bytes that were copied, those of running copies included.
    pub bytes: u64,
}

impl Default for State {
    fn default() -> Self {
        let (jobs, failures) = (HashMap::new(), HashMap::new());
        Self { jobs, failures, running: 0, at_once: AT_ONCE, ended: Totals::default() }
    }
}

struct CopyJob {
    of_group: bool,
    progress: Progress,
    begun: Instant,
    /// What is being copied. It must not be deleted meanwhile.
    sources: Vec<String>,
    /// Whether the copy runs. Until then it waits for others. This is read and written under the lock of the state.
    started: Mutex<bool>,
}

impl CopyJobs {
    /// For jobs that change the group of trees.
    #[must_use]
    pub fn of_groups() -> Self {
        Self { of_groups: true, ..Self::default() }
    }

    /// Sets how many copies may run at the same time.
    pub fn set_at_once(&self, at_once: usize) {
        self.state().at_once = at_once;
        self.changed.notify_all();
    }

    /// Runs `work` in a thread of its own, with the name `key`. If a copy with this name is already running, `work` is dropped. In both
    /// cases it waits until the copy has ended, but not longer than `timeout`.
    pub fn run(
        self: &Arc<Self>,
        key: &str,
        sources: &[String],
        timeout: Duration,
        work: impl FnOnce(&Progress) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        if !state.jobs.contains_key(key) {
            let job = Arc::new(CopyJob {
                of_group: self.of_groups,
                progress: Progress::default(),
                begun: Instant::now(),
                sources: sources.to_vec(),
                started: Mutex::new(false),
            });
            state.jobs.insert(key.to_owned(), Arc::clone(&job));
            state.failures.remove(key);
            let (copies, own_key) = (Arc::clone(self), key.to_owned());
            let span = tracing::Span::current();
            let thread = std::thread::Builder::new().name("copy".to_owned());
            let begun = thread.spawn(move || span.in_scope(|| copies.work(&own_key, &job, work)));
            if let Err(error) = begun {
                state.jobs.remove(key);
                return Err(Error::Busy(format!("cannot start a thread for a copy: {error}")));
            }
        }
        loop {
            let Some(job) = state.jobs.get(key) else {
                return state.failures.remove(key).map_or(Ok(()), Err);
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Busy(job.describe()));
            }
            self.changed.wait_for(&mut state, left);
        }
    }

    /// What the copies have done since the process began.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let state = self.state();
        let begin =
            Totals { running: state.running, waiting: state.jobs.len() - state.running, ..state.ended };
        state.jobs.values().fold(begin, |total, job| Totals {
            files: total.files + job.progress.files(),
            bytes: total.bytes + job.progress.bytes(),
            ..total
        })
    }

    /// Returns the error with which the copy for `key` failed, unless a caller has received it already.
    pub fn check(&self, key: &str) -> Result<()> {
        self.state().failures.remove(key).map_or(Ok(()), Err)
    }

    /// Whether a copy that makes `key` runs or waits.
    pub fn is_running(&self, key: &str) -> bool {
        self.state().jobs.contains_key(key)
    }

    /// Cancels the copy that makes `key`, if there is one, and waits until it has removed what it had made.
    pub fn cancel(&self, key: &str) -> Result<()> {
        let deadline = Instant::now() + TIME_TO_END;
        let mut state = self.state();
        state.failures.remove(key);
        loop {
            let Some(job) = state.jobs.get(key) else {
                state.failures.remove(key);
                return Ok(());
            };
            job.progress.cancel();
            self.changed.notify_all();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Busy("a copy into it is being cancelled; ask again".to_owned()));
            }
            self.changed.wait_for(&mut state, left);
        }
    }

    /// Fails with [`Error::Busy`] while something is being copied from `source`, which then must not be deleted.
    pub fn refuse_while_source(&self, source: &str) -> Result<()> {
        let state = self.state();
        match state.jobs.iter().find(|(_, job)| job.sources.iter().any(|own| own == source)) {
            Some((key, job)) => Err(Error::Busy(format!("{key} is being made from it: {}", job.describe()))),
            None => Ok(()),
        }
    }

    fn work(&self, key: &str, job: &CopyJob, work: impl FnOnce(&Progress) -> Result<()>) {
        let has_turn = self.wait_for_turn(job);
        let result = if has_turn {
            // A panic ends only this copy.
            let work = std::panic::AssertUnwindSafe(|| work(&job.progress));
            std::panic::catch_unwind(work).unwrap_or_else(|_| {
                Err(Error::Precondition(
                    "the driver has a bug: a copy panicked; its log says where".to_owned(),
                ))
            })
        } else {
            Err(Error::Cancelled)
        };
        let seconds = job.begun.elapsed().as_secs_f64();
        let (files, bytes) = (job.progress.files(), job.progress.bytes());
        match &result {
            Ok(()) if self.of_groups => tracing::info!(key, entries = files, seconds, "group changed"),
            // The publish that asks next says it.
            Err(error) if self.of_groups => {
                tracing::debug!(key, entries = files, seconds, %error, "group not changed");
            }
            Ok(()) => tracing::info!(key, files, bytes, seconds, "copied"),
            Err(error) => tracing::warn!(key, files, bytes, seconds, %error, "not copied"),
        }
        let mut state = self.state();
        state.running -= usize::from(has_turn);
        state.jobs.remove(key);
        state.ended.files += job.progress.files();
        state.ended.bytes += job.progress.bytes();
        match &result {
            Ok(()) => state.ended.completed += 1,
            Err(_) => state.ended.failed += 1,
        }
        if let Err(error) = result {
            if state.failures.len() >= MOST_FAILURES {
                state.failures.clear();
            }
            state.failures.insert(key.to_owned(), error);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until the copy may run. Returns `false` if it was cancelled before that.
    fn wait_for_turn(&self, job: &CopyJob) -> bool {
        let mut state = self.state();
        loop {
            if job.progress.is_cancelled() {
                return false;
            }
            if state.running < state.at_once {
                state.running += 1;
                *job.started.lock() = true;
                return true;
            }
            self.changed.wait(&mut state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl CopyJob {
    fn describe(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64();
        if !*self.started.lock() {
            let what = if self.of_group { "change of the group" } else { "copy" };
            return format!("the {what} has been waiting for {seconds:.0} s for others to end; ask again");
        }
        if self.of_group {
            return format!(
                "giving the volume to the group of the pod for {seconds:.0} s: {} entries; ask again",
                self.progress.files()
            );
        }
        let (files, bytes) = (self.progress.files(), self.progress.bytes());
        #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
        let rate = bytes as f64 / seconds.max(0.001) / f64::from(1 << 20);
        format!("copying for {seconds:.0} s: {files} files, {bytes} bytes, {rate:.1} MiB/s; ask again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const LONG: Duration = Duration::from_secs(30);

    impl CopyJobs {
        /// Waits until nothing is under way.
        fn end(&self) {
            while !self.state().jobs.is_empty() {
                std::thread::yield_now();
            }
        }
    }

    fn from(source: &str) -> Vec<String> {
        vec![source.to_owned()]
    }

    #[test]
    fn a_retry_joins_the_copy_and_gets_its_end() {
        let copies = Arc::new(CopyJobs::default());
        let (finish, finished) = channel::<()>();
        let first = copies.run("new", &from("old"), Duration::ZERO, move |_| {
            finished.recv().unwrap();
            Ok(())
        });
        assert!(matches!(first, Err(Error::Busy(_))), "{first:?}");
        let retry = copies.run("new", &from("old"), Duration::ZERO, |_| panic!("a second copy"));
        assert!(retry.unwrap_err().to_string().contains("ask again"));
        assert!(copies.refuse_while_source("old").is_err() && copies.refuse_while_source("new").is_ok());
        finish.send(()).unwrap();
        copies.end();
        assert!(copies.refuse_while_source("old").is_ok());
    }

    #[test]
    fn a_failure_that_nobody_waited_for_is_told_to_the_next_and_the_one_after_begins_anew() {
        let copies = Arc::new(CopyJobs::default());
        let fail = |_: &Progress| Err(Error::Missing("something"));
        let _ = copies.run("new", &from("old"), Duration::ZERO, fail);
        copies.end();
        let told = copies.check("new");
        assert!(matches!(told, Err(Error::Missing("something"))), "{told:?}");
        copies.check("new").unwrap();
        copies.run("new", &from("old"), LONG, |_| Ok(())).unwrap();
        let panicked = copies.run("new", &from("old"), LONG, |_| panic!("on purpose"));
        assert!(panicked.unwrap_err().to_string().contains("bug"));
    }

    #[test]
    fn no_more_than_allowed_run_at_once_and_a_cancelled_one_ends() {
        let copies = Arc::new(CopyJobs::default());
        copies.set_at_once(1);
        let (started, has_started) = channel::<()>();
        let until_cancelled = move |progress: &Progress| {
            started.send(()).unwrap();
            while !progress.is_cancelled() {
                std::thread::yield_now();
            }
            Err(Error::Cancelled)
        };
        let _ = copies.run("a", &from("old"), Duration::ZERO, until_cancelled);
        has_started.recv().unwrap();
        let _ = copies.run("b", &from("old"), Duration::ZERO, |_| panic!("it had no turn"));
        let waiting = copies.run("b", &from("old"), Duration::ZERO, |_| Ok(())).unwrap_err().to_string();
        assert!(waiting.contains("waiting"), "{waiting}");
        let totals = copies.totals();
        assert_eq!((totals.running, totals.waiting, totals.failed), (1, 1, 0));
        copies.cancel("b").unwrap();
        copies.cancel("a").unwrap();
        copies.run("b", &from("old"), LONG, |_| Ok(())).unwrap();
        let totals = Totals { completed: 1, failed: 2, ..Totals::default() };
        assert_eq!(copies.totals(), totals);
    }
}
