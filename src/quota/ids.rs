//! Which project ids of our range are in use, and by which directory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, bail};
use parking_lot::Mutex;

use crate::config::quota::ProjectRange;
use crate::linux::quota::{FileSystem, Limits, Quota};

/// The directory of each project id that is known to be in use, by its inode number. The thread that gives files to projects reads them, too.
pub(super) type Owners = Arc<Mutex<HashMap<u32, u64>>>;

/// The project ids of volumes that exist. A directory is known by its inode number, because all shares are on one file system.
#[derive(Debug)]
pub(super) struct Ids {
    range: ProjectRange,
    owners: Owners,
    /// The ids that were seen since [`Self::begin_pass`].
    seen: HashSet<u32>,
    /// Where the search for a free id begins. Ids are used one after the other, so that an old one is not used again soon.
    next: u32,
}

impl Ids {
    /// Finds the largest id of the range that is in use.
    pub(super) fn new(range: ProjectRange, file_system: &FileSystem) -> anyhow::Result<Self> {
        let last = used(range, file_system)?.into_keys().max();
        let next = last.map_or(range.first, |last| if last < range.last { last + 1 } else { range.first });
        Ok(Self { range, owners: Owners::default(), seen: HashSet::new(), next })
    }

    /// Whether the id is one of ours.
    pub(super) fn is_ours(&self, id: u32) -> bool {
        self.range.contains(id)
    }

    /// Whether the id belongs to another directory than this one, as far as is known.
    pub(super) fn belongs_to_other(&self, id: u32, inode: u64) -> bool {
        self.owners.lock().get(&id).is_some_and(|owner| *owner != inode)
    }

    /// Notes that the directory with this inode number has the id.
    pub(super) fn note(&mut self, id: u32, inode: u64) {
        self.seen.insert(id);
        self.owners.lock().insert(id, inode);
    }

    /// The ids of volumes, as they are at each moment.
    pub(super) fn owners(&self) -> Owners {
        Arc::clone(&self.owners)
    }

    /// From now on, all directories are visited. Returns limits and usage of all ids in use. One quotactl_fd(2) for each of them.
    pub(super) fn begin_pass(&mut self, file_system: &FileSystem) -> anyhow::Result<HashMap<u32, Quota>> {
        self.seen.clear();
        used(self.range, file_system)
    }

    /// All directories were visited: forgets all ids that were not seen since [`Self::begin_pass`], and clears the limits of those that nothing
    /// carried then, so that they can be used again. Returns how many these are.
    pub(super) fn end_pass(
        &mut self,
        file_system: &FileSystem,
        before: &HashMap<u32, Quota>,
    ) -> anyhow::Result<u64> {
        let seen = std::mem::take(&mut self.seen);
        let mut owners = self.owners.lock();
        owners.retain(|id, _| seen.contains(id));
        let mut cleared = 0;
        for (id, quota) in before {
            let is_carried = quota.used_inodes > 0 || quota.used_bytes > 0;
            if !is_carried && !owners.contains_key(id) {
                file_system.set_limits(*id, Limits::default())?;
                tracing::debug!(
                    project = id,
                    "nothing carries the project id any more, its limit is removed"
                );
                cleared += 1;
            }
        }
        Ok(cleared)
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
}

/// Limits and usage of each id of the range that has one. One quotactl_fd(2) for each.
fn used(range: ProjectRange, file_system: &FileSystem) -> anyhow::Result<HashMap<u32, Quota>> {
    let (mut found, mut from) = (HashMap::new(), range.first);
    while let Some((id, quota)) = file_system.next_quota(from).context("find the project ids in use")? {
        if id > range.last {
            break;
        }
        found.insert(id, quota);
        from = id + 1;
    }
    Ok(found)
}
