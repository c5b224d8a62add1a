//! Copies that are running. A copy may take longer than the call that started it. A retry of the call finds the copy again. If what a
//! copy makes is deleted meanwhile, the copy is cancelled.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::linux::copy::Progress;

use crate::volume::error::{Error, Result};

/// How many copies from one export to one export run at the same time, unless the configuration sets another number. Each sends several requests to its server at
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
}

struct State {
    jobs: HashMap<String, Arc<CopyJob>>,
    /// Why copies failed about which no caller has asked yet. A successful copy leaves no entry here, because a retry finds what
    /// the copy has made.
    failures: HashMap<String, Error>,
    /// How many copies run, by where they go from and to.
    running: HashMap<String, usize>,
    /// The copies that wait for their turn, in their order. They have no thread.
    waiting: VecDeque<Waiting>,
    at_once: usize,
    time: Option<Duration>,
}

/// What a copy does.
type Work = Box<dyn FnOnce(&Progress) -> Result<()> + Send>;

struct Waiting {
    key: String,
    job: Arc<CopyJob>,
    work: Work,
    span: tracing::Span,
}

impl Default for State {
    fn default() -> Self {
        Self {
            jobs: HashMap::new(),
            failures: HashMap::new(),
            running: HashMap::new(),
            waiting: VecDeque::new(),
            at_once: AT_ONCE,
            time: None,
        }
    }
}

struct CopyJob {
    progress: Progress,
    begun: Instant,
    /// From which export to which export the copy goes. Copies with another way neither wait for this one nor hold it up, so a dead
    /// export stops only its own copies.
    way: String,
    /// What is being copied. It must not be deleted meanwhile.
    sources: Vec<String>,
    /// Whether the copy runs. Until then it waits for others. This is read and written under the lock of the state.
    started: Mutex<bool>,
}

impl CopyJobs {
    /// Sets how many copies from one export to one export may run at the same time, and how long a copy that begins from now on may take.
    pub fn set_limits(self: &Arc<Self>, at_once: usize, time: Option<Duration>) {
        let mut state = self.state();
        (state.at_once, state.time) = (at_once, time);
        self.start_waiting(&mut state);
    }

    /// Runs `work` in a thread of its own, with the name `key`. If a copy with this name is already running, `work` is dropped. In both
    /// cases it waits until the copy has ended, but not longer than `timeout`.
    pub fn run(
        self: &Arc<Self>,
        key: &str,
        way: &str,
        sources: &[String],
        timeout: Duration,
        work: impl FnOnce(&Progress) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        if !state.jobs.contains_key(key) {
            let job = Arc::new(CopyJob {
                progress: Progress::default(),
                begun: Instant::now(),
                way: way.to_owned(),
                sources: sources.to_vec(),
                started: Mutex::new(false),
            });
            state.jobs.insert(key.to_owned(), Arc::clone(&job));
            state.failures.remove(key);
            let span = tracing::Span::current();
            state.waiting.push_back(Waiting { key: key.to_owned(), job, work: Box::new(work), span });
            self.start_waiting(&mut state);
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
        let waiting = state.waiting.len();
        state.waiting.retain(|waiting| waiting.key != key);
        if state.waiting.len() < waiting {
            state.jobs.remove(key);
            state.failures.insert(key.to_owned(), Error::Cancelled);
            self.changed.notify_all();
            return Ok(());
        }
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

    /// Starts the copies whose turn it is.
    fn start_waiting(self: &Arc<Self>, state: &mut State) {
        for next in std::mem::take(&mut state.waiting) {
            let running = state.running.entry(next.job.way.clone()).or_default();
            if *running >= state.at_once {
                state.waiting.push_back(next);
                continue;
            }
            *running += 1;
            *next.job.started.lock() = true;
            let Waiting { key, job, work, span } = next;
            if let Some(time) = state.time {
                job.progress.end_at(Instant::now() + time);
            }
            let (copies, way, own_key) = (Arc::clone(self), job.way.clone(), key.clone());
            let thread = std::thread::Builder::new().name("copy".to_owned());
            if let Err(error) = thread.spawn(move || span.in_scope(|| copies.work(&key, &job, work))) {
                let reason = format!("cannot start a thread for a copy: {error}");
                state.finish(&own_key, &way, Err(Error::Busy(reason)));
            }
        }
        self.changed.notify_all();
    }

    fn work(self: &Arc<Self>, key: &str, job: &CopyJob, work: impl FnOnce(&Progress) -> Result<()>) {
        // A panic ends only this copy.
        let work = std::panic::AssertUnwindSafe(|| work(&job.progress));
        let result = match std::panic::catch_unwind(work) {
            Err(_) => Err(Error::Precondition(
                "the driver has a bug: a copy panicked; its log says where".to_owned(),
            )),
            Ok(Err(Error::Cancelled)) if job.progress.is_overdue() => Err(Error::Precondition(
                "the copy has taken longer than limits.copyTime in the driver's configuration allows, and nothing of it is left: \
                 allow more time, or copy less"
                    .to_owned(),
            )),
            Ok(result) => result,
        };
        let seconds = job.begun.elapsed().as_secs_f64();
        let (files, bytes) = (job.progress.files(), job.progress.bytes());
        match &result {
            Ok(()) => tracing::info!(key, files, bytes, seconds, "copied"),
            Err(error) => tracing::warn!(key, files, bytes, seconds, %error, "not copied"),
        }
        let mut state = self.state();
        state.finish(key, &job.way, result);
        self.start_waiting(&mut state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Ends a copy that had its turn.
    fn finish(&mut self, key: &str, way: &str, result: Result<()>) {
        if let Some(running) = self.running.get_mut(way) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(way);
            }
        }
        self.jobs.remove(key);
        if let Err(error) = result {
            if self.failures.len() >= MOST_FAILURES {
                self.failures.clear();
            }
            self.failures.insert(key.to_owned(), error);
        }
    }
}

impl CopyJob {
    fn describe(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64();
        if !*self.started.lock() {
            return format!("the copy has been waiting for {seconds:.0} s for others to end; ask again");
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
        let first = copies.run("new", "a to a", &from("old"), Duration::ZERO, move |_| {
            finished.recv().unwrap();
            Ok(())
        });
        assert!(matches!(first, Err(Error::Busy(_))), "{first:?}");
        let retry = copies.run("new", "a to a", &from("old"), Duration::ZERO, |_| panic!("a second copy"));
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
        let _ = copies.run("new", "a to a", &from("old"), Duration::ZERO, fail);
        copies.end();
        let told = copies.check("new");
        assert!(matches!(told, Err(Error::Missing("something"))), "{told:?}");
        copies.check("new").unwrap();
        copies.run("new", "a to a", &from("old"), LONG, |_| Ok(())).unwrap();
        let panicked = copies.run("new", "a to a", &from("old"), LONG, |_| panic!("on purpose"));
        assert!(panicked.unwrap_err().to_string().contains("bug"));
    }

    #[test]
    fn no_more_than_allowed_run_at_once_and_a_cancelled_one_ends() {
        let copies = Arc::new(CopyJobs::default());
        copies.set_limits(1, None);
        let (started, has_started) = channel::<()>();
        let until_cancelled = move |progress: &Progress| {
            started.send(()).unwrap();
            while !progress.is_cancelled() {
                std::thread::yield_now();
            }
            Err(Error::Cancelled)
        };
        let _ = copies.run("a", "a to a", &from("old"), Duration::ZERO, until_cancelled);
        has_started.recv().unwrap();
        let _ = copies.run("b", "a to a", &from("old"), Duration::ZERO, |_| panic!("it had no turn"));
        let waiting =
            copies.run("b", "a to a", &from("old"), Duration::ZERO, |_| Ok(())).unwrap_err().to_string();
        assert!(waiting.contains("waiting"), "{waiting}");
        copies.run("c", "b to b", &from("other"), LONG, |_| Ok(())).unwrap();
        assert_eq!(copies.state().waiting.len(), 1, "what waits has no thread");
        copies.cancel("b").unwrap();
        copies.cancel("a").unwrap();
        let told = copies.check("b");
        assert!(matches!(told, Err(Error::Cancelled)), "{told:?}");
        copies.run("b", "a to a", &from("old"), LONG, |_| Ok(())).unwrap();
    }

    #[test]
    fn a_copy_that_takes_too_long_is_given_up_and_says_which_limit_it_was() {
        let copies = Arc::new(CopyJobs::default());
        copies.set_limits(1, Some(Duration::from_millis(50)));
        let forever = |progress: &Progress| {
            while !progress.is_cancelled() {
                std::thread::yield_now();
            }
            Err(Error::Cancelled)
        };
        let error = copies.run("a", "a to a", &from("old"), LONG, forever).unwrap_err().to_string();
        assert!(error.contains("limits.copyTime"), "{error}");
    }
}
