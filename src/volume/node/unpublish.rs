//! Making a volume disappear from a target path.

use std::path::Path;

use crate::linux::MountTable;

use crate::volume::error::Result;
use crate::volume::node::ephemeral;
use crate::volume::node::publish::Publisher;
use crate::volume::node::target_dir::remove_target;
use crate::volume::policy::settings::ResolvedExport;

/// How far an unpublish has come.
#[derive(Debug)]
pub enum Unpublished {
    /// Nothing is mounted at the target any more, and the target directory is gone.
    Done,
    /// The volume is a pod's own and ends with the pod. It is still mounted; [`Publisher::unpublish_ephemeral`] removes it
    /// from this export, which needs the server, and unmounts it then.
    Ephemeral(ResolvedExport),
}

impl Publisher {
    /// Takes a volume off a target path and removes the directory there. Sends no request to a server, and does not wait for
    /// a publish of this target: that is revoked. If nothing is there, it has nothing to do.
    pub fn unpublish(&self, volume_id: &str, target: &Path) -> Result<Unpublished> {
        self.targets.revoke(target);
        let Some(target) = self.resolve(target)? else { return Ok(Unpublished::Done) };
        let target = target.as_path();
        let table = self.mounter.table()?;
        if let Some(export) = table.at(target).and_then(|mount| ephemeral::export_of(mount, volume_id)) {
            return Ok(Unpublished::Ephemeral(export));
        }
        self.clear(target, &table).map(|()| Unpublished::Done)
    }

    /// Removes the directory of an ephemeral volume from its export, and takes the volume off the target path.
    pub fn unpublish_ephemeral(&self, volume_id: &str, target: &Path, export: &ResolvedExport) -> Result<()> {
        let (options, _) = export.options::<&str>(&[])?;
        self.volumes.exports.with_any(export, &options, |mounted| ephemeral::discard(mounted, volume_id))?;
        let Some(target) = self.resolve(target)? else { return Ok(()) };
        self.clear(target.as_path(), &self.mounter.table()?)
    }

    fn clear(&self, target: &Path, table: &MountTable) -> Result<()> {
        for _ in 0..table.count_at(target) {
            self.mounter.unmount(target)?;
        }
        remove_target(target)
    }
}
