//! One call at a time for one volume.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The operations under way, by what they are about.
#[derive(Debug, Clone, Default)]
pub struct Guards(Arc<Mutex<HashMap<String, Instant>>>);

/// The right to work on something until this is dropped. It moves into the work, so that a caller that gives up
/// does not free the volume for the next one while the work still runs.
#[derive(Debug)]
pub struct Guard {
    guards: Guards,
    key: String,
}

impl Guards {
    /// Takes the right to work on `key`, or says for how long somebody has had it.
    pub fn take(&self, key: String) -> Result<Guard, Duration> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = running.get(&key) {
            return Err(since.elapsed());
        }
        running.insert(key.clone(), Instant::now());
        Ok(Guard { guards: self.clone(), key })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.guards.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_free_again_when_its_guard_is_dropped() {
        let guards = Guards::default();
        let held = guards.take("v".to_owned()).unwrap();
        assert!(guards.take("v".to_owned()).is_err());
        let _other = guards.take("w".to_owned()).unwrap();
        drop(held);
        let _again = guards.take("v".to_owned()).unwrap();
    }
}
