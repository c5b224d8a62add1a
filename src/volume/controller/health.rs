//! What is wrong with volumes, as far as the controller can see it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::volume::controller::list::handle_of;
use crate::volume::error::Result;
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::name::source::job_name;
use crate::volume::share::health::{self, Finding};
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::quota::limit::look_for_limit;
use crate::volume::share::record::Record;
use crate::volume::volumes::Volumes;

/// The number of volumes that are examined at a time.
const CHUNK: usize = 64;
/// A record is written before its directory is made. This is how long a volume may have no directory without being reported.
const MAKING: Duration = Duration::from_mins(1);

/// The volumes of one export that have a problem, or a part of these volumes.
#[derive(Debug, Default)]
pub struct SickVolumes {
    /// Each volume with its problem.
    pub volumes: Vec<(VolumeHandle, Vec<Finding>)>,
    /// The last volume that was examined, whether it has a problem or not.
    pub last: Option<VolumeHandle>,
    /// Whether there are more volumes after that one.
    pub more: bool,
}

impl Volumes {
    /// What is wrong with a volume. NFS requests on a mounted export: those of [`health::look`], and those of reading the record
    /// and of finding the directory, and those of [`look_for_limit`].
    pub fn health(&self, text: &str, secret: Option<&str>) -> Result<Vec<Finding>> {
        health::findings(self.with_record(text, secret, |mounted, located, record| {
            let mut found = health::look(mounted)?;
            found.extend(self.look_for_directory(mounted, &located.handle, &record)?);
            if let Some(state) = mounted.existing_state()? {
                let limit = (&located.handle.key, &record);
                found.extend(look_for_limit(mounted.share(), &state, limit, located.export.policy.quota)?);
            }
            Ok(found)
        }))
    }

    /// The volumes after `after` that have a problem, at most `limit` of them. It stops after `time`. NFS requests
    /// for each volume: those of reading its record and of finding its directory.
    pub fn sick_volumes(
        &self,
        id: &ExportRef,
        after: Option<&VolumeKey>,
        limit: usize,
        time: Duration,
    ) -> Result<SickVolumes> {
        let begun = Instant::now();
        self.on_export(id, None, |export, mounted| {
            let mut sick = SickVolumes::default();
            let Some(state) = mounted.existing_state()? else { return Ok(sick) };
            let of_export = health::look(mounted)?;
            let mut after = after.cloned();
            loop {
                let keys = state.keys(after.as_ref(), CHUNK)?;
                for (key, record) in state.readable_records(&keys)? {
                    let handle = handle_of(id, key, &record)?;
                    let gone = self.look_for_directory(mounted, &handle, &record)?;
                    let volume = (&handle.key, &record);
                    let unlimited = look_for_limit(mounted.share(), &state, volume, export.policy.quota)?;
                    let found: Vec<Finding> =
                        of_export.iter().cloned().chain(gone).chain(unlimited).collect();
                    sick.last = Some(handle.clone());
                    if !found.is_empty() {
                        sick.volumes.push((handle, found));
                    }
                    sick.more = sick.volumes.len() >= limit || begun.elapsed() >= time;
                    if sick.more {
                        return Ok(sick);
                    }
                }
                match keys.into_iter().next_back() {
                    Some(last) => after = Some(last),
                    None => return Ok(sick),
                }
            }
        })
    }

    /// Looks for the directory of a volume. A volume that is being made may not have one yet.
    fn look_for_directory(
        &self,
        mounted: &MountedExport,
        handle: &VolumeHandle,
        record: &Record,
    ) -> Result<Option<Finding>> {
        let gone = health::look_for_directory(mounted.share(), &record.sub_dir)?;
        Ok(gone.filter(|_| !self.may_be_in_the_making(handle, record)))
    }

    fn may_be_in_the_making(&self, handle: &VolumeHandle, record: &Record) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = now.saturating_sub(Duration::from_secs(record.created));
        age < MAKING || self.copies.is_running(&job_name(handle))
    }
}
