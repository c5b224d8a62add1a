//! What a volume or a snapshot is filled with: the tree of a volume, or of a snapshot.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::linux::copy::{self, CopyError, Means, Order, Progress, Summary};
use crate::linux::{Dir, NfsOptions, anew};

use super::exports::MountedExport;
use super::lookup::not_found;
use super::parameters::Ownership;
use super::provision::{explain_denied, refuse_unsafe};
use super::settings::ResolvedExport;
use super::snapshot::handle::SnapshotHandle;
use super::snapshot::store::{Sets, remove_draft};
use super::state_dir::StateDir;
use super::{Error, Result, SubDir, VolumeKey, Volumes, trash};

/// Failures of one copy that are told. The first says what is wrong.
const MOST_TOLD: usize = 3;

/// What a new volume is to be filled with, by handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A snapshot.
    Snapshot(String),
    /// Another volume.
    Volume(String),
}

impl Source {
    /// What a copy from it is called in [`super::copies::Copies`].
    #[must_use]
    pub fn job_name(&self) -> String {
        match self {
            Self::Snapshot(handle) => format!("snapshot {handle}"),
            Self::Volume(handle) => format!("volume {handle}"),
        }
    }
}

/// A tree that can be copied.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) export: ResolvedExport,
    pub(super) options: NfsOptions,
    pub(super) place: Place,
    /// Bytes that a volume must have to hold it.
    pub(super) size_bytes: u64,
    /// Bytes that its volume was promised.
    pub(super) capacity_bytes: u64,
    /// Whose its volume was made.
    pub(super) ownership: Ownership,
}

/// Where on its export a tree is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Volume(SubDir),
    Snapshot(SnapshotHandle),
}

impl Place {
    /// Opens the tree, if it is there, by names as they are on the server now.
    fn open(&self, mounted: &MountedExport) -> Result<Option<Dir>> {
        match self {
            Self::Volume(sub_dir) => match anew::open_dir(mounted.share(), sub_dir.as_ref()) {
                Err(error) if error.is_not_found() => Ok(None),
                opened => Ok(Some(opened.map_err(refuse_unsafe)?)),
            },
            Self::Snapshot(handle) => {
                let Some(state) = mounted.existing_state()? else { return Ok(None) };
                let kind = handle.kind();
                match Sets::open(&state, kind)? {
                    Some(sets) => sets.tree(&handle.key, handle.number()),
                    None => Ok(None),
                }
            }
        }
    }
}

impl Volumes {
    /// Finds what a source names, or says that it is not there.
    pub(super) fn origin(&self, source: &Source, secret: Option<&str>) -> Result<Origin> {
        match source {
            Source::Volume(handle) => self.origin_of_volume(handle, secret),
            Source::Snapshot(text) => {
                let handle = SnapshotHandle::parse(text).ok_or_else(|| no_snapshot(text))?;
                let export = self.settings.get().resolve(&handle.export)?;
                let (options, _) = export.options(secret.as_slice())?;
                let record = self.read_set(&handle, secret)?.ok_or_else(|| no_snapshot(text))?;
                let member = record.members.get(handle.number()).ok_or_else(|| no_snapshot(text))?;
                Ok(Origin {
                    export,
                    options,
                    place: Place::Snapshot(handle),
                    size_bytes: member.size_bytes,
                    capacity_bytes: member.capacity_bytes,
                    ownership: member.ownership,
                })
            }
        }
    }

    pub(super) fn origin_of_volume(&self, handle: &str, secret: Option<&str>) -> Result<Origin> {
        let located = self.locate(handle, secret)?.ok_or_else(|| not_found(handle))?;
        let record = self.with_record(handle, secret, |_, _, record| Ok(record))?;
        Ok(Origin {
            export: located.export,
            options: located.options,
            place: Place::Volume(record.sub_dir),
            size_bytes: record.capacity_bytes,
            capacity_bytes: record.capacity_bytes,
            ownership: record.ownership,
        })
    }

    /// Copies a tree into the empty directory `into` on another or the same export. What could not be copied whole is
    /// an error; `into` is then the caller's to remove.
    pub(super) fn copy(
        &self,
        origin: &Origin,
        to: &MountedExport,
        state: &StateDir,
        key: &VolumeKey,
        into: &Dir,
        progress: &Progress,
    ) -> Result<Summary> {
        self.exports.with_any(&origin.export, &origin.options, |from| {
            let gone = || Error::NotFound(format!("the tree to be copied is not on {}", origin.export.id));
            let tree = origin.place.open(from)?.ok_or_else(gone)?;
            let across = Arc::new(Means::across());
            let means = if from.is_same_export(to) { to.means() } else { &across };
            let links_name = trash::name_of(key);
            let links = state.work().open_or_make_dir(&links_name, 0o700)?;
            let devices = self.settings.get().device_nodes;
            let order = Order { from: &tree, to: into, links: &links, means, devices, progress };
            let copied = copy::copy_tree(&order).map_err(explain);
            let cleaned = remove_draft(state, &links_name);
            let summary = match (copied, cleaned) {
                (Ok(summary), Ok(())) => summary,
                (Ok(_), Err(failure)) => return Err(failure),
                (Err(reason), cleaned) => {
                    let errors: Vec<Error> = std::iter::once(reason).chain(cleaned.err()).collect();
                    return Err(several(errors));
                }
            };
            // Had it been moved or deleted meanwhile, by whomever, files could be missing.
            let still = origin.place.open(from)?.ok_or_else(gone)?;
            if !tree.is_same(&still)? {
                return Err(gone());
            }
            tracing::info!(
                from = %tree.label(), means = means.used(), files = summary.files, directories = summary.directories,
                others = summary.others, bytes = summary.bytes, vanished = summary.vanished,
                skipped = summary.skipped, "tree copied"
            );
            Ok(summary)
        })
    }
}

/// Several errors as one; one as itself.
pub(super) fn several(mut errors: Vec<Error>) -> Error {
    if errors.len() == 1 { errors.swap_remove(0) } else { Error::Several(errors) }
}

fn explain(error: CopyError) -> Error {
    match error {
        CopyError::Cancelled => Error::Cancelled,
        CopyError::Failed(failures) => {
            several(failures.into_iter().take(MOST_TOLD).map(explain_denied).collect())
        }
        other @ CopyError::TooDeep(..) => Error::Precondition(other.to_string()),
    }
}

/// The error for a handle that names no snapshot.
pub(super) fn no_snapshot(handle: &str) -> Error {
    Error::NotFound(format!("there is no snapshot {handle:?}"))
}
