//! The thread that does, for one export, what the caller of a call need not wait for: removing names that count for nothing any more, and
//! checking what was moved.
//!
//! If the process is killed before that, a later sweep of any process does it ([`super::abandoned`]). So no step that a call has promised
//! may be left to this thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// How many pieces of work may wait. The caller does what comes on top of that itself, so that the memory is bounded.
const WAITING: usize = 64;

/// The thread of one export, which starts when there is something to do. It ends after it has done everything, when this is dropped.
#[derive(Default)]
pub(super) struct Afterwards {
    thread: Mutex<Option<SyncSender<Job>>>,
    open: Arc<AtomicUsize>,
}

impl Afterwards {
    /// Does `work` in the background. Does it now if too much is waiting, or if there can be no thread.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.open.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&self.open));
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
        let mut thread = self.thread.lock();
        if thread.is_none() {
            *thread = start();
        }
        let Some(sender) = thread.as_ref() else { return Err(job) };
        match sender.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job)) => Err(job),
            // The thread has panicked. The next piece of work starts another one.
            Err(TrySendError::Disconnected(job)) => {
                *thread = None;
                Err(job)
            }
        }
    }
}

fn start() -> Option<SyncSender<Job>> {
    let (sender, jobs): (_, Receiver<Job>) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("afterwards".to_owned());
    match thread.spawn(move || jobs.into_iter().for_each(|job| job())) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "cannot start the thread for what callers need not wait for, so they wait");
            None
        }
    }
}

/// Counts down when the work is done, also if it panics.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
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
        let done = Arc::new(AtomicUsize::new(0));
        afterwards.run(move || assert!(gate.recv().is_err()));
        let count = || {
            let done = Arc::clone(&done);
            move || {
                done.fetch_add(1, Ordering::SeqCst);
            }
        };
        // The first may have begun or not.
        for _ in 0..WAITING - 1 {
            afterwards.run(count());
        }
        assert_eq!(done.load(Ordering::SeqCst), 0, "nobody has waited");
        for _ in 0..2 {
            afterwards.run(count());
        }
        assert!(done.load(Ordering::SeqCst) > 0, "one more than may wait is done by the caller");
        drop(go);
        let all_done = || {
            (0..400).any(|_| {
                std::thread::sleep(Duration::from_millis(5));
                !afterwards.is_pending()
            })
        };
        assert!(all_done());
        assert_eq!(done.load(Ordering::SeqCst), WAITING + 1);
        afterwards.run(|| panic!("a bug"));
        assert!(all_done());
        for _ in 0..3 {
            afterwards.run(count());
        }
        assert!(all_done());
        assert_eq!(done.load(Ordering::SeqCst), WAITING + 4);
    }
}
