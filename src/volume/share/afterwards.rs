//! The threads that do, for one export, what the caller of a call need not wait for: removing names that count for nothing any more, and
//! checking what was moved.
//!
//! If the process is killed before that, a later sweep of any process does it ([`super::abandoned`]). So no step that a call has promised
//! may be left to these threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// How many pieces of work may wait. The caller does what comes on top of that itself, so that the memory is bounded.
const WAITING: usize = 64;
/// How many threads there are at most. One alone would be slower than the calls if the server is far away, since it waits for an answer
/// after each request.
const THREADS: usize = 8;

/// The threads of one export. Each starts when there is more to do than the others can do at once. They end after they have done everything,
/// when this is dropped.
#[derive(Default)]
pub(super) struct Afterwards {
    queue: Mutex<Option<Queue>>,
    open: Arc<AtomicUsize>,
    threads: Arc<AtomicUsize>,
}

struct Queue {
    sender: SyncSender<Job>,
    jobs: Arc<Mutex<Receiver<Job>>>,
}

impl Afterwards {
    /// Does `work` in the background. Does it now if too much is waiting, or if there can be no thread.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        let open = Counted::new(&self.open);
        let job: Job = Box::new(move || {
            let _open = open;
            work();
        });
        if let Err(job) = self.send(job) {
            job();
        }
    }

    /// Whether something is still to be done.
    pub(super) fn is_pending(&self) -> bool {
        self.open.load(Ordering::SeqCst) > 0
    }

    fn send(&self, job: Job) -> Result<(), Job> {
        let mut queue = self.queue.lock();
        let queue = queue.get_or_insert_with(|| {
            let (sender, jobs) = sync_channel(WAITING);
            Queue { sender, jobs: Arc::new(Mutex::new(jobs)) }
        });
        let threads = self.threads.load(Ordering::SeqCst);
        if threads < THREADS.min(self.open.load(Ordering::SeqCst)) {
            self.start(&queue.jobs);
        }
        if self.threads.load(Ordering::SeqCst) == 0 {
            return Err(job);
        }
        queue.sender.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    fn start(&self, jobs: &Arc<Mutex<Receiver<Job>>>) {
        let (jobs, counted) = (Arc::clone(jobs), Counted::new(&self.threads));
        let work = move || {
            let _counted = counted;
            loop {
                let next = jobs.lock().recv();
                let Ok(job) = next else { return };
                // The panic hook has told about a panic, and the next piece of work has nothing to do with it.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("afterwards".to_owned()).spawn(work) {
            tracing::warn!(%error, "cannot start a thread for what callers need not wait for");
        }
    }
}

/// Counts one more until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn a_call_does_not_wait_until_too_much_is_waiting_and_a_panic_stops_nothing() {
        let afterwards = Afterwards::default();
        let (go, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let done = Arc::new(AtomicUsize::new(0));
        let count = || {
            let done = Arc::clone(&done);
            move || {
                done.fetch_add(1, Ordering::SeqCst);
            }
        };
        let all_done = || {
            (0..400).any(|_| {
                std::thread::sleep(Duration::from_millis(5));
                !afterwards.is_pending()
            })
        };
        // One after the other needs one thread.
        for _ in 0..3 {
            afterwards.run(count());
            assert!(all_done());
        }
        assert_eq!((done.load(Ordering::SeqCst), afterwards.threads.load(Ordering::SeqCst)), (3, 1));
        for _ in 0..THREADS {
            let gate = Arc::clone(&gate);
            afterwards.run(move || assert!(gate.lock().recv().is_err()));
        }
        // Those of the threads may have begun or not.
        for _ in 0..WAITING - THREADS {
            afterwards.run(count());
        }
        assert_eq!(done.load(Ordering::SeqCst), 3, "nobody has waited");
        for _ in 0..=THREADS {
            afterwards.run(count());
        }
        assert!(done.load(Ordering::SeqCst) > 3, "one more than may wait is done by the caller");
        drop(go);
        assert!(all_done());
        assert_eq!(done.load(Ordering::SeqCst), 3 + WAITING + 1);
        for _ in 0..2 * THREADS {
            afterwards.run(|| panic!("a bug"));
            assert!(all_done());
        }
        for _ in 0..3 {
            afterwards.run(count());
        }
        assert!(all_done());
        assert_eq!(done.load(Ordering::SeqCst), 3 + WAITING + 1 + 3);
    }
}
