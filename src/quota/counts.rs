//! What is counted of a share for the metrics of the driver, and told with the sign of life.

use std::collections::{HashMap, HashSet};

use crate::volume::error::{Error, Result};

use super::agent::Agent;

impl Agent {
    /// Tells what was counted during the look at all volumes that ends now, if it has changed.
    pub(super) fn tell_counts(&mut self, share: usize) -> Result<()> {
        self.pass.counts.trash_bytes = self.trash_bytes(share)?;
        let Some(state) = &mut self.shares[share].state else { return Ok(()) };
        let counts = Some(self.pass.counts);
        if state.introduction.counts != counts {
            state.introduction.counts = counts;
            state.folder.introduce(&state.introduction)?;
        }
        Ok(())
    }

    /// What deleted volumes use that wait to be removed, in bytes. A directory keeps its project in the trash. It is opened when it is seen there for
    /// the first time; after that, the folder is only read. A project that a volume has by now does not count.
    fn trash_bytes(&mut self, share: usize) -> Result<u64> {
        let Some(state) = &mut self.shares[share].state else { return Ok(0) };
        let deleted = match state.records.deleted() {
            Err(Error::Sys(error)) if error.is_not_found() => return Ok(0),
            opened => opened?,
        };
        let known = std::mem::take(&mut state.trash);
        let mut entries = Vec::new();
        deleted.for_each_entry(|entry| entries.push(entry))?;
        let mut trash = HashMap::new();
        for entry in entries {
            let project = match known.get(&entry.inode) {
                Some(project) => *project,
                // It may have been removed meanwhile, or somebody has made something else than a directory.
                None => match deleted.open_dir(&entry.name).and_then(|dir| dir.project()) {
                    Ok(project) => project.id,
                    Err(_) => continue,
                },
            };
            trash.insert(entry.inode, project);
        }
        let projects: HashSet<u32> = trash
            .iter()
            .filter(|(inode, project)| !self.ids.belongs_to_other(**project, **inode))
            .map(|(_, project)| *project)
            .collect();
        state.trash = trash;
        let used = projects.iter().filter_map(|project| self.pass.quotas.get(project));
        Ok(used.map(|quota| quota.used_bytes).sum())
    }
}
