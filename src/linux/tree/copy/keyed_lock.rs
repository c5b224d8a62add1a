//! What is being worked on, so that no two threads make the same thing.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A set of things, each of which one thread has.
pub(super) struct KeyedLock<K> {
    state: Mutex<State<K>>,
    freed: Condvar,
}

struct State<K> {
    keys: HashSet<K>,
    /// Threads that wait. Mostly none: then nobody is woken, which would be a system call for each entry.
    waiting: usize,
}

/// The right to work on one thing, for as long as this lives.
pub(super) struct Guard<'a, K: Eq + Hash> {
    busy: &'a KeyedLock<K>,
    key: K,
}

impl<K: Eq + Hash + Clone> KeyedLock<K> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { keys: HashSet::new(), waiting: 0 }), freed: Condvar::new() }
    }

    /// Waits until no other thread has `key`.
    pub(super) fn take(&self, key: K) -> Guard<'_, K> {
        let mut state = self.state();
        while !state.keys.insert(key.clone()) {
            state.waiting += 1;
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        Guard { busy: self, key }
    }
}

impl<K: Eq + Hash> KeyedLock<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Guard<'_, K> {
    fn drop(&mut self) {
        let mut state = self.busy.state();
        state.keys.remove(&self.key);
        if state.waiting > 0 {
            self.busy.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_thing_is_worked_on_by_one_thread_at_a_time() {
        let (busy, inside, turns) =
            (KeyedLock::new(), [AtomicU32::new(0), AtomicU32::new(0)], AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        let key = round % 2;
                        let _turn = busy.take(key);
                        assert_eq!(inside[key].fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside[key].fetch_sub(1, Ordering::SeqCst);
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(turns.into_inner(), 8000);
    }
}
