//! The model: what must exist, according to the answers of the services.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tonic::Code;

/// xorshift64*. The same seed gives the same numbers.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

/// The volumes and snapshots that were acknowledged and whose deletion was not asked for.
#[derive(Default)]
pub(super) struct Model(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Each with whether it has a mark.
    volumes: BTreeMap<String, bool>,
    snapshots: BTreeSet<String>,
    wrong: Vec<String>,
    codes: BTreeMap<i32, usize>,
}

impl Model {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, code: Code) {
        *self.known().codes.entry(code.into()).or_default() += 1;
    }

    pub(super) fn calls(&self) -> usize {
        self.known().codes.values().sum()
    }

    pub(super) fn codes(&self) -> String {
        let codes = self.known().codes.clone();
        let codes: Vec<String> =
            codes.into_iter().map(|(code, count)| format!("{count} {:?}", Code::from(code))).collect();
        codes.join(", ")
    }

    pub(super) fn note_wrong(&self, what: String) {
        self.known().wrong.push(what);
    }

    pub(super) fn wrong(&self) -> Vec<String> {
        self.known().wrong.clone()
    }

    pub(super) fn created(&self, name: &str) {
        self.known().volumes.insert(name.to_owned(), false);
    }

    /// The deletion of a volume begins.
    pub(super) fn deleting(&self, name: &str) {
        self.known().volumes.remove(name);
    }

    pub(super) fn is_present(&self, name: &str) -> bool {
        self.known().volumes.contains_key(name)
    }

    pub(super) fn mark(&self, name: &str) {
        if let Some(marked) = self.known().volumes.get_mut(name) {
            *marked = true;
        }
    }

    /// The volumes with a mark, and those without.
    pub(super) fn marked(&self) -> (Vec<String>, Vec<String>) {
        let volumes = self.known().volumes.clone();
        let (with, without): (BTreeMap<_, _>, BTreeMap<_, _>) =
            volumes.into_iter().partition(|(_, marked)| *marked);
        (with.into_keys().collect(), without.into_keys().collect())
    }

    pub(super) fn present(&self) -> Vec<String> {
        self.known().volumes.keys().cloned().collect()
    }

    pub(super) fn snapshotted(&self, name: &str) {
        self.known().snapshots.insert(name.to_owned());
    }

    pub(super) fn snapshot_gone(&self, name: &str) {
        self.known().snapshots.remove(name);
    }

    pub(super) fn snapshots(&self) -> Vec<String> {
        self.known().snapshots.iter().cloned().collect()
    }
}
