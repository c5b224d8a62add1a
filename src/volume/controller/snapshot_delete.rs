//! Taking snapshots away.

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
    /// Deletes a snapshot, and ends the copy that is making it. What is no handle, and what is not there, is deleted
    /// already. Three NFS requests on a mounted export: LOOKUP, LOOKUP, RENAME; the rest goes in the background.
    pub fn delete_snapshot(&self, text: &str, secret: Option<&str>) -> Result<()> {
        let Some(handle) = SnapshotHandle::parse(text) else { return self.delete_archive(text, secret) };
        if let Some(group) = handle.group() {
            // CSI specification, DeleteSnapshot errors: part of a group. What is gone with its group is gone.
            if self.read_set(&handle, secret)?.is_none() {
                return Ok(());
            }
            let reason = format!("{text} is a member of the group snapshot {group} and goes with it");
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

    /// Deletes a group of snapshots, as [`Self::delete_snapshot`] does one.
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

    /// `before` is told how many members the set has, 0 if it is not there (yet).
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
