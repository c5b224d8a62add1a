//! Locks that are named by keys, so that two threads never work on the same entry.

use std::collections::HashSet;
use std::hash::Hash;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// The set of keys that are locked now. Each key is locked by one thread.
pub(super) struct KeyedLock<K> {
    state: Mutex<State<K>>,
    freed: Condvar,
}

struct State<K> {
    keys: HashSet<K>,
    /// Threads that wait. Usually there are none; then no wake-up is needed, which saves a system call for each entry.
    waiting: usize,
}

/// Keeps one key locked until it is dropped.
pub(super) struct Guard<'a, K: Eq + Hash> {
    locks: &'a KeyedLock<K>,
    key: K,
}

impl<K: Eq + Hash + Clone> KeyedLock<K> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { keys: HashSet::new(), waiting: 0 }), freed: Condvar::new() }
    }

    /// Locks `key`. Waits while another thread has locked it.
    pub(super) fn lock(&self, key: K) -> Guard<'_, K> {
        let mut state = self.state();
        while !state.keys.insert(key.clone()) {
            state.waiting += 1;
            self.freed.wait(&mut state);
            state.waiting -= 1;
        }
        Guard { locks: self, key }
    }
}

impl<K: Eq + Hash> KeyedLock<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock()
    }
}

impl<K: Eq + Hash> Drop for Guard<'_, K> {
    fn drop(&mut self) {
        let mut state = self.locks.state();
        state.keys.remove(&self.key);
        if state.waiting > 0 {
            self.locks.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_key_is_locked_by_one_thread_at_a_time() {
        let (locks, inside, turns) =
            (KeyedLock::new(), [AtomicU32::new(0), AtomicU32::new(0)], AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        let key = round % 2;
                        let _guard = locks.lock(key);
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
