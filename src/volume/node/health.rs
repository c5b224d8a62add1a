//! Problems of volumes and exports, as this node sees them.

use std::path::Path;

use crate::linux::{Dir, step};

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeHandle;
use crate::volume::node::publish::Publisher;
use crate::volume::node::stale;
use crate::volume::policy::settings::ResolvedExport;
use crate::volume::share::health::{self, Finding, Trouble};

impl Publisher {
    /// The problems of the volume that is published at `path`. `None`: nothing is published there, so that only the export can be
    /// examined. NFS requests: GETATTR and FSSTAT, and those of [`health::look`] if this process has the export mounted.
    pub fn health_at(&self, volume_id: &str, path: &Path) -> Result<Option<Vec<Finding>>> {
        let target = match self.published(path) {
            Err(Error::NotFound(_)) => return Ok(None),
            target => target?,
        };
        step::begin(format!("the health of the volume at {}", target.display()));
        let dir = Dir::open_mount(&target)?;
        let look = || -> Result<Vec<Finding>> {
            dir.fresh()?;
            let group = self.groups.look(&target, &dir)?;
            Ok(health::look_for_room(&dir)?.into_iter().chain(group).collect())
        };
        let mut found = match look() {
            Err(error) if error.is_stale() => {
                vec![Finding { trouble: Trouble::StaleMount, message: stale::explain(&target) }]
            }
            looked => looked?,
        };
        let export =
            VolumeHandle::parse(volume_id).map(|handle| self.volumes.settings.get().resolve(&handle.export));
        if let Some(Ok(export)) = export
            && self.volumes.exports.has_mounted(&export)
        {
            found.extend(self.health_of_export(&export)?);
        }
        health::findings(Ok(found)).map(Some)
    }

    /// The problems of a volume that is not published: those of its export and of its directory. The error is
    /// [`Error::NotFound`] if there is no such volume. NFS requests on a mounted export: those of [`health::look`], and those of
    /// reading the record and of finding the directory.
    pub fn health_of(&self, volume_id: &str) -> Result<Vec<Finding>> {
        health::findings(self.volumes.with_record(volume_id, None, |mounted, _, record| {
            let mut found = health::look(mounted)?;
            found.extend(health::look_for_directory(mounted.share(), &record.sub_dir)?);
            Ok(found)
        }))
    }

    /// The problems of an export. It is mounted first if it is not mounted yet.
    pub fn health_of_export(&self, export: &ResolvedExport) -> Result<Vec<Finding>> {
        let (options, _) = export.options::<&str>(&[])?;
        health::findings(self.volumes.exports.with_any(export, &options, health::look))
    }
}
