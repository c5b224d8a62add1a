//! Deleting snapshots.

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::name::snapshot_handle::{GroupHandle, SnapshotHandle};
use crate::volume::name::source::Source;
use crate::volume::name::source::job_name_of_group;
use crate::volume::share::csi_driver_nfs_archive::CsiDriverNfsSnapshotHandle;
use crate::volume::share::snapshots::store::SnapshotSets;
use crate::volume::volumes::Volumes;

impl Volumes {
    /// Deletes a snapshot, and cancels the copy that is creating it. A text that is not a handle, and a snapshot that does not exist, count as
    /// deleted. NFS requests on a mounted export: 4 to read the record, and one RENAME. The files are removed in the background.
    pub fn delete_snapshot(&self, text: &str, secret: Option<&str>) -> Result<()> {
        let Some(handle) = SnapshotHandle::parse(text) else { return self.delete_archive(text, secret) };
        if let Some(group) = handle.group() {
            // CSI specification, DeleteSnapshot errors: a member of a group is not deleted alone. After its group it does not exist any more.
            if self.read_set(&handle, secret)?.is_none() {
                return Ok(());
            }
            let reason =
                format!("{text} is a member of the group snapshot {group}; delete the group instead");
            return Err(Error::invalid("snapshot_id", reason));
        }
        self.discard_set(Kind::Single, &handle.export, &handle.key, secret, |_| {
            let source = Source::Snapshot(text.to_owned()).job_name();
            self.copies.refuse_while_source(&source)?;
            self.copies.cancel(&source)
        })
    }

    /// Deletes a snapshot that csi-driver-nfs made.
    fn delete_archive(&self, text: &str, secret: Option<&str>) -> Result<()> {
        let Some(handle) = CsiDriverNfsSnapshotHandle::parse(text) else { return Ok(()) };
        self.copies.refuse_while_source(&Source::Snapshot(text.to_owned()).job_name())?;
        self.with_archive(&handle, secret, |export, mounted, _| {
            let state = mounted.state()?;
            if handle.discard(mounted.share(), &state, export.policy)? {
                mounted.reap(&state, Some(self.settings.get().strictest_policy()));
            }
            Ok(())
        })
        .map(Option::unwrap_or_default)
    }

    /// As [`Self::delete_snapshot`], for a group of snapshots.
    pub fn delete_group(&self, text: &str, secret: Option<&str>) -> Result<()> {
        let Some(handle) = GroupHandle::parse(text) else { return Ok(()) };
        self.discard_set(Kind::Group, &handle.export, &handle.key, secret, |members| {
            for number in 0..members {
                let member = SnapshotHandle::member(handle.export.clone(), handle.key.clone(), number);
                self.copies.refuse_while_source(&Source::Snapshot(member.to_string()).job_name())?;
            }
            self.copies.cancel(&job_name_of_group(&handle))
        })
    }

    /// Deletes a set. Calls `before` first, with the number of members that the set has, or 0 if it does not exist.
    fn discard_set(
        &self,
        kind: Kind,
        export: &ExportRef,
        key: &VolumeKey,
        secret: Option<&str>,
        before: impl Fn(usize) -> Result<()>,
    ) -> Result<()> {
        let record = self.read_set_of(kind, export, key, secret)?;
        before(record.map_or(0, |record| record.members.len()))?;
        self.on_export(export, secret, |export, mounted| {
            let Some(state) = mounted.existing_state()? else { return Ok(()) };
            let Some(sets) = SnapshotSets::open(&state, kind)? else { return Ok(()) };
            if sets.discard(&state, key, export.policy)? {
                mounted.reap(&state, Some(self.settings.get().strictest_policy()));
            }
            Ok(())
        })
    }
}
