//! Which project ids of our range are in use, and by which directory.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use parking_lot::Mutex;

use crate::config::quota::ProjectRange;
use crate::linux::quota::{FileSystem, Limits};

/// The directory of each project id that is known to be in use, by its inode number. The thread that gives files to projects reads them, too.
pub(super) type Owners = Arc<Mutex<HashMap<u32, u64>>>;

/// The project ids of volumes that exist. A directory is known by its inode number, because all shares are on one file system.
#[derive(Debug)]
pub(super) struct Ids {
    range: ProjectRange,
    owners: Owners,
    /// Where the search for a free id begins. Ids are used one after the other, so that an old one is not used again soon.
    next: u32,
}

impl Ids {
    /// Finds the largest id of the range that is in use. One quotactl_fd(2) for each id in use.
    pub(super) fn new(range: ProjectRange, file_system: &FileSystem) -> anyhow::Result<Self> {
        let mut last = None;
        each_used(range, file_system, |id, _| {
            last = Some(id);
            Ok(())
        })?;
        let next = last.map_or(range.first, |last| if last < range.last { last + 1 } else { range.first });
        Ok(Self { range, owners: Owners::default(), next })
    }

    /// Whether the id is one of ours.
    pub(super) fn is_ours(&self, id: u32) -> bool {
        self.range.contains(id)
    }

    /// Whether the id belongs to another directory than this one, as far as is known.
    pub(super) fn belongs_to_other(&self, id: u32, inode: u64) -> bool {
        self.owners.lock().get(&id).is_some_and(|owner| *owner != inode)
    }

    /// The directory that has the id, as far as is known.
    pub(super) fn owner_of(&self, id: u32) -> Option<u64> {
        self.owners.lock().get(&id).copied()
    }

    /// Notes that the directory with this inode number has the id.
    pub(super) fn note(&mut self, id: u32, inode: u64) {
        self.owners.lock().insert(id, inode);
    }

    /// The ids of volumes, as they are at each moment.
    pub(super) fn owners(&self) -> Owners {
        Arc::clone(&self.owners)
    }

    /// Forgets all ids that were not seen.
    pub(super) fn keep(&mut self, seen: HashMap<u32, u64>) {
        *self.owners.lock() = seen;
    }

    /// An id that nothing carries and that has no limit. A directory in the trash, an archive or a retained directory still has its id and
    /// counts as usage of one inode, so its id is not free. One quotactl_fd(2) for each id that is looked at.
    pub(super) fn take(&mut self, file_system: &FileSystem, inode: u64) -> anyhow::Result<u32> {
        let begin = self.next;
        loop {
            let id = self.next;
            self.next = if id < self.range.last { id + 1 } else { self.range.first };
            if !self.owners.lock().contains_key(&id) && file_system.quota(id)?.is_free() {
                self.note(id, inode);
                return Ok(id);
            }
            if self.next == begin {
                bail!(
                    "all project ids from {} to {} are in use: start the agent with a larger range (--projects)",
                    self.range.first,
                    self.range.last
                );
            }
        }
    }

    /// Clears the limits of ids that nothing carries any more, so that they can be used again. Returns how many there were. One quotactl_fd(2)
    /// for each id in use.
    pub(super) fn clear_unused(&self, file_system: &FileSystem) -> anyhow::Result<u64> {
        let mut cleared = 0;
        each_used(self.range, file_system, |id, is_carried| {
            if !is_carried && !self.owners.lock().contains_key(&id) {
                file_system.set_limits(id, Limits::default())?;
                tracing::debug!(
                    project = id,
                    "nothing carries the project id any more, its limit is removed"
                );
                cleared += 1;
            }
            Ok(())
        })?;
        Ok(cleared)
    }
}

/// Calls `see` with each id of the range that has a limit or a usage, and whether anything carries it.
fn each_used(
    range: ProjectRange,
    file_system: &FileSystem,
    mut see: impl FnMut(u32, bool) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut from = range.first;
    while let Some((id, quota)) = file_system.next_quota(from).context("find the project ids in use")? {
        if id > range.last {
            break;
        }
        see(id, quota.used_inodes > 0 || quota.used_bytes > 0)?;
        from = id + 1;
    }
    Ok(())
}
