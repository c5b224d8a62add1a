//! Copies that are running. A copy may take longer than the call that started it. A retry of the call finds the copy again. If what a
//! copy makes is deleted meanwhile, the copy is cancelled.

mod job;
#[cfg(test)]
mod tests;
mod totals;
mod turns;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::linux::copy::Progress;
use crate::linux::step;

use crate::volume::error::{Error, Result};

use job::Job;
pub use totals::Totals;
pub use turns::{AT_ONCE, Way};
use turns::{Route, Turns};

/// How many copies wait for their turn at most. They are kept in memory.
const MOST_WAITING: usize = 2000;
/// How many failures are kept until a retry asks for them. When there are more, all are forgotten, and a retry starts the copy again.
const MOST_FAILURES: usize = 1000;
/// How long a deletion waits until a cancelled copy has ended. After that it answers that the caller should ask again.
const TIME_TO_END: Duration = Duration::from_secs(5);

/// All copies of this process. The key is the handle of the volume or snapshot that the copy makes.
#[derive(Default)]
pub struct CopyJobs {
    state: Mutex<State>,
    changed: Condvar,
    of_groups: bool,
}

#[derive(Default)]
struct State {
    /// The copies that wait or run.
    jobs: HashMap<String, Arc<Job>>,
    /// Those that wait, in the order of their arrival. They have no thread.
    waiting: Vec<Waiting>,
    turns: Turns,
    /// How long one copy may run.
    time: Option<Duration>,
    /// What the copies that have ended have done.
    ended: Totals,
    /// Why copies failed about which no caller has asked yet. A successful copy leaves no entry here, because a retry finds what
    /// the copy has made.
    failures: HashMap<String, Error>,
}

type Work = Box<dyn FnOnce(&Progress) -> Result<()> + Send>;

struct Waiting {
    key: String,
    job: Arc<Job>,
    work: Work,
    span: tracing::Span,
}

impl CopyJobs {
    /// For jobs that change the group of trees.
    #[must_use]
    pub fn of_groups() -> Self {
        Self { of_groups: true, ..Self::default() }
    }

    /// Sets how many copies of one way may run at the same time, and how long one may run. The time is for copies that are running, too.
    pub fn set_limits(self: &Arc<Self>, at_once: usize, time: Option<Duration>) {
        let mut state = self.state();
        state.turns.set_at_once(at_once);
        state.time = time;
        for job in state.jobs.values() {
            job.limit(time);
        }
        self.start_waiting(&mut state);
    }

    /// Runs `work` in a thread of its own, with the name `key`. If a copy with this name is already running, `work` is dropped. In both
    /// cases it waits until the copy has ended, but not longer than `timeout`.
    pub fn run(
        self: &Arc<Self>,
        key: &str,
        way: Way,
        sources: &[String],
        timeout: Duration,
        work: impl FnOnce(&Progress) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        let running = state.jobs.get(key).cloned();
        let job = match running {
            Some(job) => job,
            None => self.begin(&mut state, key, Route { way, sources: sources.to_vec() }, Box::new(work))?,
        };
        let _waits = step::pause(format!("{} {key}", self.kind()));
        while state.jobs.get(key).is_some_and(|now| Arc::ptr_eq(now, &job)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Busy(job.describe()));
            }
            self.changed.wait_for(&mut state, left);
        }
        match state.failures.remove(key) {
            Some(error) => Err(error),
            // Whoever has cancelled the copy has taken its failure.
            None if job.progress.is_cancelled() => Err(Error::Cancelled),
            None => Ok(()),
        }
    }

    fn kind(&self) -> &'static str {
        if self.of_groups { "the change of the group of" } else { "the copy that makes" }
    }

    fn begin(self: &Arc<Self>, state: &mut State, key: &str, route: Route, work: Work) -> Result<Arc<Job>> {
        if state.waiting.len() >= MOST_WAITING {
            return Err(Error::Busy(format!("{MOST_WAITING} copies wait already; ask again later")));
        }
        let job = Arc::new(Job::new(self.of_groups, route));
        state.jobs.insert(key.to_owned(), Arc::clone(&job));
        state.failures.remove(key);
        let (key, span) = (key.to_owned(), tracing::Span::current());
        state.waiting.push(Waiting { key, job: Arc::clone(&job), work, span });
        self.start_waiting(state);
        Ok(job)
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
        let _waits = step::pause(format!("the end of {} {key}", self.kind()));
        let mut state = self.state();
        state.forget_waiting(key);
        loop {
            state.failures.remove(key);
            let Some(job) = state.jobs.get(key) else {
                self.changed.notify_all();
                return Ok(());
            };
            job.progress.cancel();
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
        match state.jobs.iter().find(|(_, job)| job.route.sources.iter().any(|own| own == source)) {
            Some((key, job)) => Err(Error::Busy(format!("{key} is being made from it: {}", job.describe()))),
            None => Ok(()),
        }
    }

    /// What the copies have done since the process began.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let state = self.state();
        let waiting = state.waiting.len();
        let begin = Totals { running: state.jobs.len() - waiting, waiting, ..state.ended };
        state.jobs.values().fold(begin, |total, job| total.with_work_of(&job.progress))
    }

    /// Starts the copies whose turn it is.
    fn start_waiting(self: &Arc<Self>, state: &mut State) {
        while let Some(next) = state.turns.next(state.waiting.iter().map(|waiting| &waiting.job.route)) {
            let Waiting { key, job, work, span } = state.waiting.remove(next);
            state.turns.take(&job.route);
            job.begin(state.time);
            let (copies, own, own_key) = (Arc::clone(self), Arc::clone(&job), key.clone());
            let run = move || span.in_scope(|| copies.work(&own_key, &own, work));
            if let Err(error) = std::thread::Builder::new().name("copy".to_owned()).spawn(run) {
                let reason = format!("cannot start a thread for a copy: {error}; ask again");
                state.end(&key, &job, Err(Error::Busy(reason)));
            }
        }
        self.changed.notify_all();
    }

    fn work(self: &Arc<Self>, key: &str, job: &Job, work: impl FnOnce(&Progress) -> Result<()>) {
        let result = job.work(work);
        job.log(key, &result);
        let mut state = self.state();
        state.end(key, job, result);
        self.start_waiting(&mut state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Ends a copy that had its turn.
    fn end(&mut self, key: &str, job: &Job, result: Result<()>) {
        self.turns.give_back(&job.route);
        self.jobs.remove(key);
        self.ended = self.ended.with_end_of(&job.progress, result.is_ok());
        let Err(error) = result else { return };
        if self.failures.len() >= MOST_FAILURES {
            self.failures.clear();
        }
        self.failures.insert(key.to_owned(), error);
    }

    /// Ends a copy that waits for its turn, if `key` is one.
    fn forget_waiting(&mut self, key: &str) {
        if let Some(number) = self.waiting.iter().position(|waiting| waiting.key == key) {
            let job = self.waiting.remove(number).job;
            job.progress.cancel();
            self.jobs.remove(key);
            self.ended = self.ended.with_end_of(&job.progress, false);
        }
    }
}
