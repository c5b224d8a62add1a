//! What is being worked on, so that no two threads make the same thing.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A set of things, each of which one thread has.
pub(super) struct Busy<K> {
    keys: Mutex<HashSet<K>>,
    freed: Condvar,
}

/// The right to work on one thing, for as long as this lives.
pub(super) struct Turn<'a, K: Eq + Hash> {
    busy: &'a Busy<K>,
    key: K,
}

impl<K: Eq + Hash + Clone> Busy<K> {
    pub(super) fn new() -> Self {
        Self { keys: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits until no other thread has `key`.
    pub(super) fn take(&self, key: K) -> Turn<'_, K> {
        let mut keys = self.keys();
        while !keys.insert(key.clone()) {
            keys = self.freed.wait(keys).unwrap_or_else(PoisonError::into_inner);
        }
        Turn { busy: self, key }
    }
}

impl<K: Eq + Hash> Busy<K> {
    fn keys(&self) -> MutexGuard<'_, HashSet<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.busy.keys().remove(&self.key);
        self.busy.freed.notify_all();
    }
}
