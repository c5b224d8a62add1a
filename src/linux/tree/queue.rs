//! A queue of tasks for several threads. A task may add more tasks.

use parking_lot::{Condvar, Mutex, MutexGuard};

/// The newest task is done first. So a tree is walked depth first, and few directories are open at the same time.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    tasks: Vec<T>,
    /// Tasks that a thread works on now. Each of them may add more tasks.
    working: usize,
    /// Threads that wait for a task. If there are none, no wake-up is needed, which saves a system call.
    idle: usize,
    stopped: bool,
}

impl<T: Send> Queue<T> {
    pub(super) const fn new() -> Self {
        let state = State { tasks: Vec::new(), working: 0, idle: 0, stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds tasks. The last one is done next.
    pub(super) fn push(&self, tasks: impl IntoIterator<Item = T>) {
        let mut state = self.state();
        if !state.stopped {
            state.tasks.extend(tasks);
            self.wake(&state);
        }
    }

    /// The number of tasks that no thread works on yet.
    pub(super) fn waiting(&self) -> usize {
        self.state().tasks.len()
    }

    /// Drops all waiting tasks, and all tasks that will be added later.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        let tasks = std::mem::take(&mut state.tasks);
        self.wake(&state);
        drop(state);
        drop(tasks);
    }

    /// Does all tasks with up to `threads` threads, the caller included. Returns when no task is left and none can be
    /// added. More threads than the caller's are started when `worth_help` tasks wait, because most trees are small.
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

    /// Calls `seen` with the number of waiting tasks before each task.
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
                self.changed.wait(&mut state);
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
        self.state.lock()
    }
}

/// Ends the work on a task, also if the task panics. Otherwise the other threads would wait for it for ever.
struct End<'a, T: Send>(&'a Queue<T>);

impl<T: Send> Drop for End<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.working -= 1;
        // Idle threads have been woken for new tasks already. At the end of the last task they have to return.
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
    fn every_task_and_every_task_that_a_task_adds_is_done() {
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
    fn tasks_that_wait_when_the_queue_is_stopped_are_not_done() {
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
