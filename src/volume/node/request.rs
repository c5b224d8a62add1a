//! What a publish asks for, and where its volume is.

use std::path::PathBuf;
use std::time::Duration;

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::node::group::GroupWish;
use crate::volume::node::publish::{Directory, Publish};
use crate::volume::policy::access_mode::AccessMode;
use crate::volume::policy::settings::Settings;
use crate::volume::policy::volume_context::VolumeContext;
use crate::volume::share::whole_share;
use crate::volume::volumes::{Volumes, not_found};

/// A publish as `NodePublishVolume` asks for it.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// The handle of the volume. If the context says where the volume is, this may be any text.
    pub volume_id: String,
    /// Where the volume is to appear.
    pub target: PathBuf,
    /// Whether the volume must be read-only there.
    pub read_only: bool,
    /// The volume context.
    pub context: VolumeContext,
    /// How many nodes and pods may use the volume, and for what.
    pub access: AccessMode,
    /// The mount options of the capability.
    pub mount_flags: Vec<String>,
    /// The group that gets access to the volume.
    pub group: Option<u32>,
    /// The mount options of the secrets.
    pub secret_options: Option<String>,
}

impl PublishRequest {
    /// The export of the volume, as far as it can be told without asking a server. `None` if the volume cannot exist.
    #[must_use]
    pub fn export(&self, settings: &Settings) -> Option<ExportRef> {
        match &self.context.export {
            Some(export) => Some(export.clone()),
            None if self.context.ephemeral => settings.default_export(),
            None => VolumeHandle::parse(&self.volume_id).map(|handle| handle.export),
        }
    }

    /// Finds out where the volume is: the context says it, or else the record of the volume. Only the latter needs NFS
    /// requests: 3 on a mounted export.
    pub fn locate(&self, volumes: &Volumes) -> Result<Publish> {
        let settings = volumes.settings.get();
        let context = &self.context;
        let (export, directory) = match (&context.export, &context.sub_dir) {
            _ if context.ephemeral => {
                (self.ephemeral_export(&settings)?, Directory::Ephemeral(self.volume_id.clone()))
            }
            (Some(export), Some(sub_dir)) => (export.clone(), directory_at(sub_dir, context.direct_mount)),
            (Some(export), None) => (export.clone(), Directory::Share),
            (None, _) => {
                let record = volumes.find(&self.volume_id)?;
                let handle =
                    VolumeHandle::parse(&self.volume_id).ok_or_else(|| not_found(&self.volume_id))?;
                (handle.export, directory_at(&record.sub_dir, record.direct_mount))
            }
        };
        let export = settings.resolve(&export)?;
        match &directory {
            Directory::Share => whole_share::require_listed(&settings, &export)?,
            Directory::Ephemeral(_) => whole_share::refuse_volumes_on(&settings, &export)?,
            Directory::At(_) | Directory::Direct(_) => {}
        }
        let more = [&context.mount_options, &self.secret_options].into_iter().flatten();
        let all: Vec<&String> = self.mount_flags.iter().chain(more).collect();
        let (options, mut flags) = export.options(&all)?;
        flags.read_only |= self.read_only || self.access.is_read_only();
        Ok(Publish {
            export,
            directory,
            target: self.target.clone(),
            options,
            flags,
            access: self.access,
            group: self.group.map(|gid| GroupWish {
                gid,
                policy: settings.fs_group,
                patience: Duration::ZERO,
            }),
        })
    }

    /// The export of an ephemeral volume. A tenant has chosen it, so it must be one that the administrator has configured.
    /// A list of servers is not enough: below a server that is listed lie the volumes of others and the state directories.
    fn ephemeral_export(&self, settings: &Settings) -> Result<ExportRef> {
        if !settings.ephemeral_volumes {
            let reason =
                "ephemeral volumes are switched off in the driver's configuration (ephemeralVolumes)";
            return Err(Error::Precondition(reason.to_owned()));
        }
        match self.export(settings).ok_or(Error::Missing("volume attribute `export`"))? {
            ExportRef::Inline(export) => settings.named(&export).ok_or_else(|| {
                Error::Precondition(format!(
                    "an ephemeral volume is an empty directory of its pod on an export of the driver's configuration, and \
                     {export} is none: name one with the volume attribute `export`. For the share itself, as csi-driver-nfs \
                     publishes it, use a PersistentVolume and a claim"
                ))
            }),
            named @ ExportRef::Named(_) => Ok(named),
        }
    }
}

fn directory_at(sub_dir: &SubDir, direct: bool) -> Directory {
    if direct { Directory::Direct(sub_dir.clone()) } else { Directory::At(sub_dir.clone()) }
}
