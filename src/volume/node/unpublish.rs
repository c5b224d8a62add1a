//! Making a volume disappear from a target path.

use std::path::Path;

use crate::linux::MountTable;

use crate::volume::error::Result;
use crate::volume::node::publish::Publisher;
use crate::volume::node::target_dir::remove_target;

impl Publisher {
    /// Takes a volume off a target path and removes the directory there. Sends no request to a server, and does not wait for
    /// a publish of this target: that is revoked. If nothing is there, it has nothing to do.
    ///
    /// The directory of a pod's own volume is removed in the background. If the process is killed before the note of the volume
    /// says that it is over, the retry goes on from there.
    pub fn unpublish(&self, volume_id: &str, target: &Path) -> Result<()> {
        self.targets.revoke(target);
        if let Some(resolved) = self.resolve(target)? {
            let resolved = resolved.as_path();
            let table = self.mounter.table()?;
            if let Some(mount) = table.at(resolved) {
                self.ephemeral.adopt(volume_id, target, mount)?;
            }
            self.clear(resolved, &table)?;
        }
        self.ephemeral.end(volume_id, target)
    }

    fn clear(&self, target: &Path, table: &MountTable) -> Result<()> {
        for _ in 0..table.count_at(target) {
            self.mounter.unmount(target)?;
        }
        self.groups.remember(target, None);
        remove_target(target)
    }
}
