//! Finding snapshots: one by its handle, or all of them in pages.

use crate::volume::controller::list::{LARGEST_PAGE, listed};
use crate::volume::controller::snapshot::{Group, Snapshot, snapshots_of};
use crate::volume::copy::source::no_snapshot;
use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::name::snapshot_handle::{GroupHandle, SnapshotHandle};
use crate::volume::share::csi_driver_nfs_archive::CsiDriverNfsSnapshotHandle;
use crate::volume::volumes::Volumes;

/// How many keys are read from a directory at a time.
const BATCH: usize = 256;

/// A part of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPage {
    /// Snapshots in the order of their exports. Within an export, single snapshots come before members of groups, and both are in
    /// the order of their keys.
    pub snapshots: Vec<Snapshot>,
    /// The token for the next part, or `None` if this is the last part.
    pub next: Option<String>,
}

impl Volumes {
    /// Finds the snapshot with this handle.
    pub fn find_snapshot(&self, text: &str, secret: Option<&str>) -> Result<Snapshot> {
        let Some(handle) = SnapshotHandle::parse(text) else { return self.find_archive(text, secret) };
        let record = self.read_set(&handle, secret)?.ok_or_else(|| no_snapshot(text))?;
        let member = record.members.get(handle.number()).ok_or_else(|| no_snapshot(text))?;
        Ok(Snapshot::new(&handle, &record, member))
    }

    /// A snapshot that csi-driver-nfs made.
    fn find_archive(&self, text: &str, secret: Option<&str>) -> Result<Snapshot> {
        let handle = CsiDriverNfsSnapshotHandle::parse(text).ok_or_else(|| no_snapshot(text))?;
        let found = self.with_archive(&handle, secret, |_, _, archive| {
            Ok(Snapshot {
                id: text.to_owned(),
                group: None,
                source: handle.source_volume(),
                size_bytes: archive.size(),
                created_ns: archive.modified_ns(),
            })
        })?;
        found.ok_or_else(|| no_snapshot(text))
    }

    /// Finds the group with this handle.
    pub fn find_group(&self, text: &str, secret: Option<&str>) -> Result<Group> {
        let not_found = || Error::NotFound(format!("there is no group snapshot {text:?}"));
        let handle = GroupHandle::parse(text).ok_or_else(not_found)?;
        let record =
            self.read_set_of(Kind::Group, &handle.export, &handle.key, secret)?.ok_or_else(not_found)?;
        let snapshots = snapshots_of(Kind::Group, &handle.export, &handle.key, &record);
        Ok(Group { handle, snapshots, created_ns: record.created_ns })
    }

    /// Lists at most `limit` snapshots, beginning after the one that `token` names. If `limit` is 0, the list has as many as one answer can
    /// contain. If `source` is not empty, it is the handle of a volume, and only the snapshots of that volume are listed. The list
    /// covers the same exports as [`Volumes::list`]; with `source` only the export of that volume.
    pub fn list_snapshots(
        &self,
        token: &str,
        limit: usize,
        source: &str,
        secret: Option<&str>,
    ) -> Result<SnapshotPage> {
        let limit = if limit == 0 { LARGEST_PAGE } else { limit.min(LARGEST_PAGE) };
        let begin = match token {
            "" => None,
            token => Some(SnapshotHandle::parse(token).ok_or(Error::BadToken)?),
        };
        let exports = if source.is_empty() {
            self.known_exports(&self.settings.get())
        } else {
            VolumeHandle::parse(source).into_iter().map(|handle| handle.export).collect()
        };
        let begin: Option<Result<_>> =
            begin.map(|handle| Ok(SnapshotHandle { export: listed(&exports, &handle.export)?, ..handle }));
        let begin = begin.transpose()?;
        let mut snapshots = Vec::new();
        for export in exports {
            for kind in Kind::ALL {
                let place = begin.as_ref().map(|handle| (&handle.export, handle.kind()));
                if place.is_some_and(|place| (&export, kind as u8) < (place.0, place.1 as u8)) {
                    continue;
                }
                let begin = begin.as_ref().filter(|_| place == Some((&export, kind)));
                // One more than the answer will contain, to know whether there are more.
                let wanted = limit + 1 - snapshots.len();
                snapshots.extend(self.list_sets(kind, &export, begin, wanted, source, secret)?);
                if snapshots.len() > limit {
                    snapshots.truncate(limit);
                    let next = snapshots.last().map(|last| last.id.clone());
                    return Ok(SnapshotPage { snapshots, next });
                }
            }
        }
        Ok(SnapshotPage { snapshots, next: None })
    }

    /// Lists at most `limit` snapshots of one kind on an export, beginning after `begin`.
    pub(in crate::volume) fn list_sets(
        &self,
        kind: Kind,
        export: &ExportRef,
        begin: Option<&SnapshotHandle>,
        limit: usize,
        source: &str,
        secret: Option<&str>,
    ) -> Result<Vec<Snapshot>> {
        let fits = |snapshot: &Snapshot| source.is_empty() || snapshot.source == source;
        self.with_sets(kind, export, secret, |sets| {
            let mut snapshots = Vec::new();
            let mut after = begin.map(|handle| handle.key.clone());
            // The previous page may have ended within a group. These are the other members of that group.
            if let Some(handle) = begin.filter(|handle| handle.member.is_some())
                && let Some(record) = sets.read(&handle.key)?
            {
                let rest = snapshots_of(kind, export, &handle.key, &record).into_iter();
                snapshots.extend(rest.skip(handle.number() + 1).filter(fits));
            }
            while snapshots.len() < limit {
                let keys = sets.keys(after.as_ref(), BATCH)?;
                for key in &keys {
                    if let Some(record) = sets.read(key)? {
                        snapshots.extend(snapshots_of(kind, export, key, &record).into_iter().filter(fits));
                    }
                }
                match keys.into_iter().next_back() {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
            snapshots.truncate(limit);
            Ok(snapshots)
        })
        .map(Option::unwrap_or_default)
    }
}
