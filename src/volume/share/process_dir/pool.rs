//! The directories of this process on one share.
//!
//! The NFS client makes one change of a directory at a time, and waits for the server in between. A creation of a volume changes the
//! directory of the process twice. So when several calls are under way, they use several directories, which are made when they are
//! needed. Each has its own sign of life. A process that does one thing at a time has one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::ProcessDir;
use crate::volume::error::Result;

/// How many directories a process has at most. Beyond this, the folders of records and claims, which each call changes once, are what
/// calls wait for.
const MOST: usize = 3;

#[derive(Debug, Default)]
pub(in crate::volume::share) struct ProcessDirs {
    slots: [Mutex<Option<Arc<ProcessDir>>>; MOST],
    under_way: AtomicUsize,
}

/// A step under way. While it lasts, others use another directory.
pub(in crate::volume::share) struct Turn<'a>(&'a AtomicUsize);

impl ProcessDirs {
    /// The first directory. `make` makes it if there is none that can be used.
    pub(in crate::volume::share) fn first(
        &self,
        make: impl FnOnce() -> Result<Arc<ProcessDir>>,
    ) -> Result<Arc<ProcessDir>> {
        self.at(0, make)
    }

    /// A directory for a step that changes it, and that few others use now. `make` makes it. If it cannot, this is the first one, which
    /// `make_first` makes.
    pub(in crate::volume::share) fn for_step(
        &self,
        make: impl FnOnce() -> Result<Arc<ProcessDir>>,
        make_first: impl FnOnce() -> Result<Arc<ProcessDir>>,
    ) -> Result<(Arc<ProcessDir>, Turn<'_>)> {
        let turn = Turn(&self.under_way);
        let slot = self.under_way.fetch_add(1, Ordering::SeqCst) % MOST;
        // A full file system may have no room for another one.
        let another = if slot == 0 { None } else { self.at(slot, make).ok() };
        let process = match another {
            Some(process) => process,
            None => self.first(make_first)?,
        };
        Ok((process, turn))
    }

    /// Those that this process has now.
    pub(in crate::volume::share) fn all(&self) -> Vec<Arc<ProcessDir>> {
        let present = self.slots.iter().filter_map(|slot| slot.lock().clone());
        present.filter(|process| !process.is_lost()).collect()
    }

    /// Takes those that this process has, so that it makes new ones when it needs them.
    pub(in crate::volume::share) fn take(&self) -> Vec<Arc<ProcessDir>> {
        self.slots.iter().filter_map(|slot| slot.lock().take()).collect()
    }

    /// Forgets those that another process has removed. Returns whether there were any.
    pub(in crate::volume::share) fn forget_lost(&self) -> bool {
        let lost = |slot: &Mutex<Option<Arc<ProcessDir>>>| {
            slot.lock().take_if(|process| process.is_lost()).is_some()
        };
        self.slots.iter().filter(|slot| lost(slot)).count() > 0
    }

    fn at(&self, slot: usize, make: impl FnOnce() -> Result<Arc<ProcessDir>>) -> Result<Arc<ProcessDir>> {
        let mut slot = self.slots[slot].lock();
        if let Some(process) = slot.as_ref().filter(|process| process.is_there()) {
            return Ok(Arc::clone(process));
        }
        Ok(Arc::clone(slot.insert(make()?)))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
