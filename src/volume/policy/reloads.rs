//! What is known of the changes of the configuration file, for the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

/// How the configuration file was read since the process began.
#[derive(Debug)]
pub struct Reloads {
    taken_up: Mutex<SystemTime>,
    is_broken: AtomicBool,
    failures: AtomicU64,
}

impl Default for Reloads {
    fn default() -> Self {
        let (is_broken, failures) = (AtomicBool::default(), AtomicU64::default());
        Self { taken_up: Mutex::new(SystemTime::now()), is_broken, failures }
    }
}

impl Reloads {
    /// The file can be used. `is_new` says whether it has another content than before.
    pub fn succeed(&self, is_new: bool) {
        self.is_broken.store(false, Ordering::Relaxed);
        if is_new {
            *self.taken_up.lock() = SystemTime::now();
        }
    }

    /// The file cannot be used. `is_new` says whether this is another mistake than before.
    pub fn fail(&self, is_new: bool) {
        self.is_broken.store(true, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(is_new), Ordering::Relaxed);
    }

    /// When the settings in force were taken up, by the clock of this host.
    #[must_use]
    pub fn taken_up(&self) -> SystemTime {
        *self.taken_up.lock()
    }

    /// Whether the present file cannot be used.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// How many files could not be used.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}
