//! What is promised to the volumes of one export together, counted in memory.
//!
//! The sum is read from the records once. After that, each call adds what it promises before it writes its record, and takes it back
//! if it fails. So calls that run at the same time never promise the same bytes twice, and none waits for the requests of another.
//! Other controllers are seen only when the records are counted again. Until then they can promise the same bytes.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::volume::error::Result;

/// How long a count of the records is used.
const COUNT_HOLDS: Duration = Duration::from_mins(1);
/// Counting takes at most this fraction of the time, however many records there are.
const SHARE_OF_TIME: u32 = 20;

/// What is promised on one export, however often it is mounted.
#[derive(Debug, Default)]
pub struct Promises {
    /// Shared by the changes under way. A count needs it alone, since it does not know which of them it has seen.
    changes: RwLock<()>,
    count: Mutex<Option<Count>>,
}

#[derive(Debug)]
struct Count {
    bytes: u64,
    until: Instant,
}

/// A change of what is promised. The records are not counted while it lasts.
#[derive(Debug)]
pub struct Change<'a> {
    promises: &'a Promises,
    _shared: RwLockReadGuard<'a, ()>,
    added: u64,
}

impl Promises {
    /// Begins a change. It waits only while the records are counted.
    pub fn change(&self) -> Change<'_> {
        Change { promises: self, _shared: self.changes.read(), added: 0 }
    }

    /// As [`Self::change`], when the sum is needed. `count` reads all records, and is called if there is no sum that is new enough.
    pub fn counted(&self, count: impl FnOnce() -> Result<u64>) -> Result<Change<'_>> {
        let change = self.change();
        if self.is_counted() {
            return Ok(change);
        }
        drop(change);
        let alone = self.changes.write();
        if !self.is_counted() {
            let begun = Instant::now();
            let bytes = count()?;
            let until = Instant::now() + COUNT_HOLDS.max(begun.elapsed() * SHARE_OF_TIME);
            *self.count.lock() = Some(Count { bytes, until });
        }
        Ok(Change { promises: self, _shared: RwLockWriteGuard::downgrade(alone), added: 0 })
    }

    fn is_counted(&self) -> bool {
        self.count.lock().as_ref().is_some_and(|count| count.until > Instant::now())
    }

    fn replace(&self, before: u64, after: u64) {
        if let Some(count) = self.count.lock().as_mut() {
            count.bytes = count.bytes.saturating_sub(before).saturating_add(after);
        }
    }
}

impl Change<'_> {
    /// Promises `bytes` more, if `admit` accepts that. It is told what is promised now: 0 if that is not counted. The promise is taken back
    /// when the change is dropped without [`Self::keep`].
    pub fn add(&mut self, bytes: u64, admit: impl FnOnce(u64) -> Result<()>) -> Result<()> {
        // Locked until the bytes are added, so that no two calls are admitted for the same bytes.
        let mut count = self.promises.count.lock();
        admit(count.as_ref().map_or(0, |count| count.bytes))?;
        if let Some(count) = count.as_mut() {
            count.bytes = count.bytes.saturating_add(bytes);
            self.added = self.added.saturating_add(bytes);
        }
        Ok(())
    }

    /// What is promised now, in bytes: 0 if that is not counted.
    pub fn sum(&self) -> u64 {
        self.promises.count.lock().as_ref().map_or(0, |count| count.bytes)
    }

    /// Takes `bytes` back that a volume had: it is deleted.
    pub fn give_back(self, bytes: u64) {
        self.promises.replace(bytes, 0);
    }

    /// What was added is in a record now.
    pub fn keep(mut self) {
        self.added = 0;
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.promises.replace(self.added, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::error::Error;

    fn up_to(limit: u64, bytes: u64) -> impl FnOnce(u64) -> Result<()> {
        move |sum| if sum + bytes <= limit { Ok(()) } else { Err(Error::OutOfRange("full".to_owned())) }
    }

    #[test]
    fn calls_at_once_are_never_promised_the_same_bytes_and_a_failed_one_gives_them_back() {
        let promises = Promises::default();
        let admitted = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for number in 0..100 {
                        let mut change = promises.counted(|| Ok(1000)).unwrap();
                        if change.add(10, up_to(2000, 10)).is_ok() && number % 2 == 0 {
                            change.keep();
                            admitted.fetch_add(10, std::sync::atomic::Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1000);
        assert_eq!(promises.change().sum(), 2000);
        promises.change().give_back(300);
        assert_eq!(promises.change().sum(), 1700);
    }

    #[test]
    fn records_are_not_counted_while_one_of_them_changes() {
        let promises = Promises::default();
        let change = promises.change();
        std::thread::scope(|scope| {
            let counting = scope.spawn(|| promises.counted(|| Ok(7)).unwrap().sum());
            std::thread::sleep(Duration::from_millis(50));
            assert!(!counting.is_finished());
            drop(change);
            assert_eq!(counting.join().unwrap(), 7);
        });
    }
}
