//! The trash of an export.

use crate::volume::error::Result;
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeHandle;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::record::Record;
use crate::volume::share::trash::Deleted;
use crate::volume::volumes::{Volumes, not_found};

impl Volumes {
    /// Everything that was deleted on an export and is still kept. See [`crate::volume::share::state_dir::StateDir::all_deleted`].
    pub fn trash(&self, id: &ExportRef) -> Result<Vec<Deleted>> {
        self.on_export(id, None, |_, mounted| {
            mounted.existing_state()?.map_or(Ok(Vec::new()), |state| state.all_deleted())
        })
    }

    /// Makes a deleted volume a volume again, in the directory `sub_dir`.
    pub fn restore(
        &self,
        id: &ExportRef,
        name: &str,
        sub_dir: &SubDir,
        capacity_bytes: u64,
    ) -> Result<(VolumeHandle, Record)> {
        self.on_export(id, None, |_, mounted| {
            let state = mounted.existing_state()?.ok_or_else(|| not_found(name))?;
            let installation = self.settings.get().installation.clone();
            let restored = state.restore(name, sub_dir, capacity_bytes, installation);
            let left = state.leave();
            let (key, record) = restored?;
            left?;
            Ok((VolumeHandle::new(id.clone(), key)?, record))
        })
    }

    /// Removes deleted volumes and snapshots now. `done` is called after each. Those that cannot be removed are returned, with the reason.
    pub fn empty_trash(
        &self,
        id: &ExportRef,
        names: &[String],
        done: impl Fn(),
    ) -> Result<Vec<(String, crate::volume::error::Error)>> {
        self.on_export(id, None, |_, mounted| {
            let mut failures = Vec::new();
            let Some(state) = mounted.existing_state()? else { return Ok(failures) };
            for name in names {
                if let Err(error) = state.remove_deleted(name) {
                    failures.push((name.clone(), error));
                }
                done();
            }
            state.leave()?;
            Ok(failures)
        })
    }
}
