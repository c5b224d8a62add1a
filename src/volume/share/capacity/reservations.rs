//! The sum of the capacity that all volumes of one export have reserved, in memory.
//!
//! The sum is read from the records once. After that, each call adds what it reserves before it writes its record, and subtracts it again if it
//! fails. So calls that run at the same time never reserve the same bytes, and no call waits for the requests of another one. What another
//! controller has reserved is noticed when the records are counted again. Until then it can reserve the same bytes.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::volume::error::Result;

/// How long the sum is used before the records are counted again.
const COUNT_HOLDS: Duration = Duration::from_mins(1);
/// Counting takes at most this fraction of the time, however many records there are.
const SHARE_OF_TIME: u32 = 20;

/// What is reserved on one export. All mounts of the export share this.
#[derive(Debug, Default)]
pub struct Reservations {
    /// Each change holds a read lock. Counting holds the write lock, because a count cannot tell which of the running changes it includes.
    changes: RwLock<()>,
    count: Mutex<Option<Count>>,
}

#[derive(Debug)]
struct Count {
    bytes: u64,
    until: Instant,
}

/// A change of what is reserved. The records are not counted while it lasts.
#[derive(Debug)]
pub struct Change<'a> {
    reservations: &'a Reservations,
    _shared: RwLockReadGuard<'a, ()>,
    added: u64,
}

impl Reservations {
    /// Begins a change. It waits only while the records are counted.
    pub fn change(&self) -> Change<'_> {
        Change { reservations: self, _shared: self.changes.read(), added: 0 }
    }

    /// As [`Self::change`], for a caller that needs the sum. `count` reads all records. It is called if there is no recent sum.
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
        Ok(Change { reservations: self, _shared: RwLockWriteGuard::downgrade(alone), added: 0 })
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
    /// Reserves `bytes` more, if `admit` allows it. `admit` gets the sum of what is reserved now, or 0 if that was never counted. The bytes
    /// are free again when the change is dropped without [`Self::keep`].
    pub fn add(&mut self, bytes: u64, admit: impl FnOnce(u64) -> Result<()>) -> Result<()> {
        // Locked until the bytes are added, so that no two calls get the same bytes.
        let mut count = self.reservations.count.lock();
        admit(count.as_ref().map_or(0, |count| count.bytes))?;
        if let Some(count) = count.as_mut() {
            count.bytes = count.bytes.saturating_add(bytes);
            self.added = self.added.saturating_add(bytes);
        }
        Ok(())
    }

    /// The sum of what is reserved now in bytes, or 0 if that was never counted.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.reservations.count.lock().as_ref().map_or(0, |count| count.bytes)
    }

    /// Frees the bytes of a volume that is deleted.
    pub fn give_back(self, bytes: u64) {
        self.reservations.replace(bytes, 0);
    }

    /// Keeps what was added, because it is in a record now.
    pub fn keep(mut self) {
        self.added = 0;
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.reservations.replace(self.added, 0);
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
    fn calls_at_once_are_never_given_the_same_bytes_and_a_failed_one_gives_them_back() {
        let reservations = Reservations::default();
        let admitted = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for number in 0..100 {
                        let mut change = reservations.counted(|| Ok(1000)).unwrap();
                        if change.add(10, up_to(2000, 10)).is_ok() && number % 2 == 0 {
                            change.keep();
                            admitted.fetch_add(10, std::sync::atomic::Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1000);
        assert_eq!(reservations.change().sum(), 2000);
        reservations.change().give_back(300);
        assert_eq!(reservations.change().sum(), 1700);
    }

    #[test]
    fn records_are_not_counted_while_one_of_them_changes() {
        let reservations = Reservations::default();
        let change = reservations.change();
        std::thread::scope(|scope| {
            let counting = scope.spawn(|| reservations.counted(|| Ok(7)).unwrap().sum());
            std::thread::sleep(Duration::from_millis(50));
            assert!(!counting.is_finished());
            drop(change);
            assert_eq!(counting.join().unwrap(), 7);
        });
    }
}
