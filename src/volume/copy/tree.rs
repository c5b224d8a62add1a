//! Copying what [`super::source`] has found into a directory that is to become a volume or a snapshot.

use crate::linux::Dir;
use crate::linux::copy::{self, CopyError, CopyRequest, Progress, Support};
use crate::linux::unpack::UnpackError;

use crate::volume::copy::source::{Location, Origin};
use crate::volume::error::several;
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::csi_driver_nfs_archive::CsiDriverNfsSnapshotHandle;
use crate::volume::share::mounts::MountedExport;
use crate::volume::volumes::Volumes;

/// How many failures of one copy an error message contains.
const MOST_TOLD: usize = 3;

/// Where a copy is made.
pub(in crate::volume) struct Destination<'a> {
    /// The export that `dir` is on.
    pub(in crate::volume) export: &'a MountedExport,
    /// The key of the volume or of the set of snapshots, for the name of a further draft.
    pub(in crate::volume) key: &'a VolumeKey,
    /// An empty directory.
    pub(in crate::volume) dir: &'a Dir,
}

impl Volumes {
    /// Copies a tree, or unpacks an archive, to `to`, which may be on another export. Returns how many bytes were copied. If anything
    /// could not be copied, this is an error, and the caller has to remove the directory.
    pub(in crate::volume) fn copy(
        &self,
        origin: &Origin,
        to: &Destination,
        progress: &Progress,
    ) -> Result<u64> {
        self.exports.with_any(&origin.export, &origin.options, |from| match &origin.location {
            Location::Archive(handle) => unpack(handle, from, to.dir, origin.limit, progress),
            location => self.copy_tree(location, from, to, progress),
        })
    }

    fn copy_tree(
        &self,
        location: &Location,
        from: &MountedExport,
        to: &Destination,
        progress: &Progress,
    ) -> Result<u64> {
        let tree = location.open(from)?.ok_or_else(|| gone(from))?;
        let across = Support::across();
        let support = if from.is_same_export(to.export) { to.export.copy_support() } else { &across };
        let (links_draft, links) = to.export.state()?.draft_dir(to.key.as_str(), 0o700)?;
        let devices = self.settings.get().device_nodes;
        let request = CopyRequest { from: &tree, to: to.dir, links: &links, support, devices, progress };
        let copied = copy::copy_tree(&request).map_err(explain);
        let cleaned = links_draft.remove();
        let summary = match copied {
            Ok(summary) => cleaned.map(|()| summary)?,
            Err(reason) => return Err(reason.with_cleanup(cleaned)),
        };
        // If somebody has moved or deleted the tree during the copy, files may be missing in the copy.
        let still = location.open(from)?.ok_or_else(|| gone(from))?;
        if !tree.is_same(&still)? {
            return Err(gone(from));
        }
        tracing::info!(
            from = %tree.label(), strategy = support.used(), files = summary.files, directories = summary.directories,
            others = summary.others, bytes = summary.bytes, vanished = summary.vanished, skipped = summary.skipped,
            "tree copied"
        );
        Ok(summary.bytes)
    }
}

fn unpack(
    handle: &CsiDriverNfsSnapshotHandle,
    from: &MountedExport,
    into: &Dir,
    limit: Option<u64>,
    progress: &Progress,
) -> Result<u64> {
    let archive = handle.open(from.share())?.ok_or_else(|| gone(from))?;
    let summary = archive.unpack(into, limit, progress).map_err(|error| match error {
        UnpackError::Cancelled => Error::Cancelled,
        UnpackError::Sys(error) => error.into(),
        error @ UnpackError::TooLarge { .. } => Error::OutOfRange(error.to_string()),
        other => Error::Precondition(other.to_string()),
    })?;
    tracing::info!(
        snapshot = %handle.snapshot(), files = summary.files, directories = summary.directories,
        others = summary.others, bytes = summary.bytes, skipped = summary.skipped, "archive unpacked"
    );
    Ok(summary.bytes)
}

fn gone(from: &MountedExport) -> Error {
    Error::NotFound(format!("what was to be copied is not on {} any more", from.share().label()))
}

fn explain(error: CopyError) -> Error {
    match error {
        CopyError::Cancelled => Error::Cancelled,
        CopyError::Failed(failures) => {
            several(failures.into_iter().take(MOST_TOLD).map(Error::from).collect())
        }
        other @ CopyError::TooDeep(..) => Error::Precondition(other.to_string()),
    }
}
