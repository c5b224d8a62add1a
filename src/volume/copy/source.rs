//! What a volume or a snapshot is filled from: the tree of a volume, the tree of a snapshot, or an archive of csi-driver-nfs.

use crate::linux::{Dir, NfsOptions, revalidate};

use crate::volume::error::refuse_unsafe;
use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::name::snapshot_handle::SnapshotHandle;
use crate::volume::name::source::Source;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::policy::parameters::Ownership;
use crate::volume::policy::settings::ResolvedExport;
use crate::volume::share::csi_driver_nfs_archive::CsiDriverNfsSnapshotHandle;
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::snapshots::store::SnapshotSets;
use crate::volume::volumes::Volumes;
use crate::volume::volumes::not_found;

/// A tree that can be copied.
#[derive(Debug, Clone)]
pub(in crate::volume) struct Origin {
    pub(in crate::volume) export: ResolvedExport,
    pub(in crate::volume) options: NfsOptions,
    pub(in crate::volume) location: Location,
    /// The capacity in bytes that a volume needs to hold the tree, as far as this is known.
    pub(in crate::volume) size_bytes: u64,
    /// The capacity in bytes of the volume that the tree is from.
    pub(in crate::volume) capacity_bytes: u64,
    /// Mode, owner and group with which that volume was made.
    pub(in crate::volume) ownership: Ownership,
    /// The largest number of bytes that an archive may contain. A larger one is not unpacked.
    pub(in crate::volume) limit: Option<u64>,
}

/// Where a tree is on its export.
#[derive(Debug, Clone)]
pub(in crate::volume) enum Location {
    Volume(SubDir),
    Snapshot(SnapshotHandle),
    Archive(CsiDriverNfsSnapshotHandle),
}

impl Location {
    /// Opens the tree, if it exists. The names are looked up on the server again, whatever the client has cached. An archive is
    /// not a tree.
    pub(in crate::volume) fn open(&self, mounted: &MountedExport) -> Result<Option<Dir>> {
        match self {
            Self::Volume(sub_dir) => match revalidate::open_dir(mounted.share(), sub_dir.as_ref()) {
                Err(error) if error.is_not_found() => Ok(None),
                opened => Ok(Some(opened.map_err(refuse_unsafe)?)),
            },
            Self::Snapshot(handle) => {
                let Some(state) = mounted.existing_state()? else { return Ok(None) };
                let kind = handle.kind();
                match SnapshotSets::open(&state, kind)? {
                    Some(sets) => sets.tree(&handle.key, handle.number()),
                    None => Ok(None),
                }
            }
            Self::Archive(_) => Ok(None),
        }
    }
}

impl Volumes {
    /// The export that a source is on. Asks no server.
    pub(in crate::volume) fn export_of(&self, source: &Source) -> Result<ResolvedExport> {
        let (Source::Volume(text) | Source::Snapshot(text)) = source;
        let named = match source {
            Source::Volume(_) => VolumeHandle::parse(text).map(|handle| handle.export),
            Source::Snapshot(_) => SnapshotHandle::parse(text).map(|handle| handle.export).or_else(|| {
                CsiDriverNfsSnapshotHandle::parse(text).map(|handle| ExportRef::Inline(handle.export))
            }),
        };
        self.settings.get().resolve(&named.ok_or_else(|| not_found(text))?)
    }

    /// Finds what a source names. If it does not exist, this is [`Error::NotFound`].
    pub(in crate::volume) fn origin(&self, source: &Source, secret: Option<&str>) -> Result<Origin> {
        match source {
            Source::Volume(handle) => self.origin_of_volume(handle, secret),
            Source::Snapshot(text) => match SnapshotHandle::parse(text) {
                Some(handle) => self.origin_of_snapshot(text, handle, secret),
                None => self.origin_of_archive(text, secret),
            },
        }
    }

    fn origin_of_snapshot(&self, text: &str, handle: SnapshotHandle, secret: Option<&str>) -> Result<Origin> {
        let (export, options) = self.resolve(&handle.export, secret)?;
        let record = self.read_set(&handle, secret)?.ok_or_else(|| no_snapshot(text))?;
        let member = record.members.get(handle.number()).ok_or_else(|| no_snapshot(text))?;
        Ok(Origin {
            export,
            options,
            location: Location::Snapshot(handle),
            size_bytes: member.size_bytes,
            capacity_bytes: member.capacity_bytes,
            ownership: member.ownership,
            limit: None,
        })
    }

    /// A snapshot that csi-driver-nfs made. The size of its content is known only after it was unpacked, and is at least the size of the
    /// archive. csi-driver-nfs reports the size of the archive, too.
    fn origin_of_archive(&self, text: &str, secret: Option<&str>) -> Result<Origin> {
        let handle = CsiDriverNfsSnapshotHandle::parse(text).ok_or_else(|| no_snapshot(text))?;
        let (export, options) = self.resolve(&ExportRef::Inline(handle.export.clone()), secret)?;
        let size_bytes = self.with_archive(&handle, secret, |_, _, archive| Ok(archive.size()))?;
        let size_bytes = size_bytes.ok_or_else(|| no_snapshot(text))?;
        Ok(Origin {
            export,
            options,
            location: Location::Archive(handle),
            size_bytes,
            capacity_bytes: size_bytes,
            ownership: Ownership::default(),
            limit: None,
        })
    }

    pub(in crate::volume) fn origin_of_volume(&self, handle: &str, secret: Option<&str>) -> Result<Origin> {
        let located = self.existing(handle, secret)?;
        let record = self.with_record_of(&located, |_, _, record| Ok(record))?;
        Ok(Origin {
            export: located.export,
            options: located.options,
            location: Location::Volume(record.sub_dir),
            size_bytes: record.capacity_bytes,
            capacity_bytes: record.capacity_bytes,
            ownership: record.ownership,
            limit: None,
        })
    }
}

/// The error for a handle that names no snapshot.
pub(in crate::volume) fn no_snapshot(handle: &str) -> Error {
    Error::NotFound(format!("there is no snapshot {handle:?}"))
}
