//! Tasks that make more tasks, worked on by several threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The newest task comes first: a tree is walked deep before wide, so that few directories are open at once.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    tasks: Vec<T>,
    /// Tasks that are being worked on, each of which may add some.
    working: usize,
    /// Threads that wait for a task. If there is none, nobody is woken, which would be a system call.
    idle: usize,
    stopped: bool,
}

impl<T: Send> Queue<T> {
    pub(super) const fn new() -> Self {
        let state = State { tasks: Vec::new(), working: 0, idle: 0, stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds tasks; the last of them is the next to be worked on.
    pub(super) fn push(&self, tasks: impl IntoIterator<Item = T>) {
        let mut state = self.state();
        if !state.stopped {
            state.tasks.extend(tasks);
            self.wake(&state);
        }
    }

    /// Tasks that nobody works on yet.
    pub(super) fn waiting(&self) -> usize {
        self.state().tasks.len()
    }

    /// Drops what waits and whatever will be added.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        let tasks = std::mem::take(&mut state.tasks);
        self.wake(&state);
        drop(state);
        drop(tasks);
    }

    /// Works on tasks with `threads` threads, the caller's among them, until none is left and nobody can add one. The
    /// others are started when `worth_help` tasks wait: most trees are small.
    pub(super) fn work(&self, threads: usize, worth_help: usize, task: impl Fn(T) + Sync) {
        std::thread::scope(|scope| {
            let mut alone = true;
            self.work_alone(&task, |waiting| {
                if alone && waiting >= worth_help {
                    alone = false;
                    for _ in 1..threads {
                        scope.spawn(|| self.work_alone(&task, |_| ()));
                    }
                }
            });
        });
    }

    /// `seen` is told how many more tasks wait.
    fn work_alone(&self, task: &impl Fn(T), mut seen: impl FnMut(usize)) {
        loop {
            let mut state = self.state();
            let next = loop {
                if let Some(next) = state.tasks.pop() {
                    state.working += 1;
                    break next;
                }
                if state.working == 0 {
                    return;
                }
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            };
            let waiting = state.tasks.len();
            drop(state);
            seen(waiting);
            let _end = End(self);
            task(next);
        }
    }

    fn wake(&self, state: &State<T>) {
        if state.idle > 0 {
            self.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the work on a task, also if that panics: the other threads would wait for it for ever.
struct End<'a, T: Send>(&'a Queue<T>);

impl<T: Send> Drop for End<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.working -= 1;
        // New tasks have been told of; the last one's end is what those who find none wait for.
        if state.working == 0 {
            self.0.wake(&state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_task_and_every_task_of_a_task_is_done() {
        let (queue, done) = (Queue::new(), AtomicU32::new(0));
        queue.push([12]);
        queue.work(4, 1, |depth: u32| {
            done.fetch_add(1, Ordering::Relaxed);
            if depth > 0 {
                queue.push([depth - 1, depth - 1]);
            }
        });
        assert_eq!(done.into_inner(), (1 << 13) - 1);
    }

    #[test]
    fn what_waits_when_it_is_stopped_is_not_done() {
        let (queue, done) = (Queue::new(), AtomicU32::new(0));
        queue.push(0..1000);
        queue.work(1, 1, |_| {
            queue.stop();
            queue.push([1]);
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 1);
    }
}
