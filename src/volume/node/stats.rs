//! How full a published volume is.

use std::path::Path;

use crate::linux::dir::Usage;
use crate::linux::{Dir, step};

use crate::volume::error::{Error, Result};
use crate::volume::name::export::Export;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::node::publish::Publisher;
use crate::volume::node::stale;
use crate::volume::policy::settings::{QuotaPolicy, ResolvedExport};
use crate::volume::share::quota::usage::usage_of;

impl Publisher {
    /// Bytes and inodes of the file system that limits the volume published at `path`. The mount table says whether a
    /// volume is published there, before the server is asked. Then this needs one FSSTAT, and one GETATTR if the attributes
    /// that the client has cached are old. If the export expects limits, and this process has it mounted, these are the requests of
    /// [`usage_of`].
    pub fn stats(&self, volume_id: &str, path: &Path) -> Result<Usage> {
        let mount = self.published(path)?;
        step::begin(format!("the statistics of the file system at {}", mount.mount_point.display()));
        let failed = |error| stale::failed_at(&mount, error);
        let dir = Dir::open_mount(&mount.mount_point).map_err(failed)?;
        match self.counted(volume_id, &dir) {
            Ok(Some(usage)) => return Ok(usage),
            Ok(None) => {}
            Err(error) if error.is_stale() => return Err(Error::Precondition(stale::explain_mount(&mount))),
            Err(error) if error.is_unreachable() => return Err(error),
            // For example, the node may not be allowed to read what the agent writes.
            Err(error) => tracing::debug!(%error, "what the quota agent has counted cannot be read"),
        }
        dir.usage().map_err(failed)
    }

    /// What a volume of an export that expects limits uses. `None` for all others, and if this process does not have the export mounted.
    fn counted(&self, volume_id: &str, dir: &Dir) -> Result<Option<Usage>> {
        let Some(handle) = VolumeHandle::parse(volume_id) else { return Ok(None) };
        let Ok(export) = self.volumes.settings.get().resolve(&handle.export) else { return Ok(None) };
        if export.policy.quota == QuotaPolicy::None || !self.volumes.exports.has_mounted(&export) {
            return Ok(None);
        }
        let (options, _) = export.options::<&str>(&[])?;
        self.volumes.exports.with_any(&export, &options, |mounted| {
            let Some(state) = mounted.existing_state()? else { return Ok(None) };
            usage_of(mounted.share(), &state, &handle.key, dir).map(Some)
        })
    }

    /// The server of the volume published at `path`, as far as the mount table says it: which part of the path on the server
    /// is the share is not known. Asks no server.
    #[must_use]
    pub fn export_at(&self, path: &Path) -> Option<ResolvedExport> {
        let mount = self.published(path).ok()?;
        let server = Export::parse(mount.source.to_str()?).ok()?.server().to_owned();
        Some(ResolvedExport::mounted(Export::new(&server, "/").ok()?))
    }
}
