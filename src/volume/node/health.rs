//! Problems of volumes and exports, as this node sees them.

use std::path::Path;

use crate::linux::{Dir, step};

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeHandle;
use crate::volume::node::publish::Publisher;
use crate::volume::node::stale;
use crate::volume::policy::settings::{QuotaPolicy, ResolvedExport};
use crate::volume::share::health::{self, Finding, Trouble};
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::quota::limit::look_for_limit;
use crate::volume::share::record::Record;
use crate::volume::volumes::ResolvedVolume;

impl Publisher {
    /// The problems of the volume that is published at `path`. `None`: nothing is published there, so that only the export can be
    /// examined. NFS requests: GETATTR and FSSTAT, and those of [`health::look`] if this process has the export mounted.
    pub fn health_at(&self, volume_id: &str, path: &Path) -> Result<Option<Vec<Finding>>> {
        let mount = match self.published(path) {
            Err(Error::NotFound(_)) => return Ok(None),
            mount => mount?,
        };
        let target = &mount.mount_point;
        step::begin(format!("the health of the volume at {}", target.display()));
        let dir = Dir::open_mount(target)?;
        let mut found = match dir.fresh() {
            Err(error) if error.is_stale() => {
                vec![Finding { trouble: Trouble::StaleMount, message: stale::explain_mount(&mount) }]
            }
            Err(error) => vec![Finding::of(stale::failed_at(&mount, error))?],
            Ok(_) => {
                let group = self.groups.look(target, &dir)?;
                health::look_for_room(&dir)?.into_iter().chain(group).collect()
            }
        };
        let export =
            VolumeHandle::parse(volume_id).map(|handle| self.volumes.settings.get().resolve(&handle.export));
        if let Some(Ok(export)) = export
            && self.volumes.exports.has_mounted(&export)
        {
            found.extend(self.health_of_export(&export)?);
            found.extend(self.limit_at(volume_id, &export)?);
        }
        health::findings(Ok(found)).map(Some)
    }

    /// The problems of a volume that is not published: those of its export and of its directory. The error is
    /// [`Error::NotFound`] if there is no such volume. NFS requests on a mounted export: those of [`health::look`], and those of
    /// reading the record and of finding the directory.
    pub fn health_of(&self, volume_id: &str) -> Result<Vec<Finding>> {
        health::findings(self.volumes.with_record(volume_id, None, |mounted, located, record| {
            let mut found = health::look(mounted)?;
            found.extend(health::look_for_directory(mounted.share(), &record.sub_dir)?);
            found.extend(limit_of(mounted, located, &record)?);
            Ok(found)
        }))
    }

    /// Whether a volume that is published is limited to its size. If that cannot be found out, because the volume has no record, nothing is said.
    fn limit_at(&self, volume_id: &str, export: &ResolvedExport) -> Result<Option<Finding>> {
        if export.policy.quota == QuotaPolicy::None {
            return Ok(None);
        }
        let looked = self
            .volumes
            .with_record(volume_id, None, |mounted, located, record| limit_of(mounted, located, &record));
        match looked {
            Err(Error::NotFound(_)) => Ok(None),
            looked => looked,
        }
    }

    /// The problems of an export. It is mounted first if it is not mounted yet.
    pub fn health_of_export(&self, export: &ResolvedExport) -> Result<Vec<Finding>> {
        let (options, _) = export.options::<&str>(&[])?;
        health::findings(self.volumes.exports.with_any(export, &options, health::look))
    }
}

/// What is wrong with the limit of a volume.
fn limit_of(mounted: &MountedExport, located: &ResolvedVolume, record: &Record) -> Result<Option<Finding>> {
    let Some(state) = mounted.existing_state()? else { return Ok(None) };
    look_for_limit(mounted.share(), &state, (&located.handle.key, record), located.export.policy.quota)
}
