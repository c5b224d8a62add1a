//! Listing volumes, and how much capacity is left for more.

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::policy::settings::Settings;
use crate::volume::share::capacity;
use crate::volume::share::record::Record;
use crate::volume::volumes::Volume;
use crate::volume::volumes::Volumes;

/// The most volumes in one answer, which then has a few hundred kilobytes.
pub const LARGEST_PAGE: usize = 1000;

/// A part of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Volumes in the order of their exports and keys.
    pub volumes: Vec<Volume>,
    /// The token for the next part, or `None` if this is the last part.
    pub next: Option<String>,
}

impl Volumes {
    /// Lists at most `limit` volumes, beginning after the one that `token` names. If `limit` is 0, the list has as many as one answer can
    /// contain. It covers all exports in the configuration, and the inline exports that this process has used since it began.
    ///
    /// A token is the handle of the last volume in the part before, so it stays valid while volumes are created and deleted. If a server
    /// does not answer, the call fails, because volumes that are missing from a list would look deleted.
    pub fn list(&self, token: &str, limit: usize) -> Result<Page> {
        let exports = self.known_exports(&self.settings.get());
        let limit = if limit == 0 { LARGEST_PAGE } else { limit.min(LARGEST_PAGE) };
        let begin = match token {
            "" => None,
            token => {
                let handle = VolumeHandle::parse(token).ok_or(Error::BadToken)?;
                Some((listed(&exports, &handle.export)?, handle.key))
            }
        };
        let mut volumes = Vec::new();
        let first = begin.as_ref().map(|(export, _)| export);
        for id in exports.iter().filter(|id| first.is_none_or(|first| *id >= first)) {
            let after = begin.as_ref().filter(|(export, _)| export == id).map(|(_, key)| key);
            // One more than the answer will contain, to know whether there are more.
            let found = self.list_export(id, after, limit + 1 - volumes.len())?;
            volumes.extend(found.into_iter().map(|(key, volume)| (id, key, volume)));
            if volumes.len() > limit {
                break;
            }
        }
        let more = volumes.len() > limit;
        volumes.truncate(limit);
        // Not the handle of the volume: csi-driver-nfs names the export in its handles, whatever export the volume is listed under.
        let next = volumes.last().filter(|_| more).map(|(export, key, _)| format!("{export}#{key}"));
        Ok(Page { volumes: volumes.into_iter().map(|(.., volume)| volume).collect(), next })
    }

    fn list_export(
        &self,
        id: &ExportRef,
        after: Option<&VolumeKey>,
        limit: usize,
    ) -> Result<Vec<(VolumeKey, Volume)>> {
        self.on_export(id, None, |_, mounted| {
            let Some(state) = mounted.existing_state()? else { return Ok(Vec::new()) };
            let mut records = Vec::new();
            let mut after = after.cloned();
            while records.len() < limit {
                let keys = state.keys(after.as_ref(), limit)?;
                records.extend(state.readable_records(&keys)?);
                match keys.into_iter().next_back() {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
            records.truncate(limit);
            records
                .into_iter()
                .map(|(key, record)| Ok((key.clone(), Volume::new(handle_of(id, key, &record)?, &record))))
                .collect()
        })
    }

    /// The largest capacity in bytes that a new volume on this export can have.
    pub fn capacity_of(&self, id: &ExportRef) -> Result<u64> {
        self.on_export(id, None, |export, mounted| {
            let available = match mounted.existing_state()? {
                Some(state) => capacity::available(mounted, &state, export.policy.capacity)?,
                None => None,
            };
            available.map_or_else(|| Ok(mounted.share().usage()?.available_bytes), Ok)
        })
    }

    /// The exports that a list covers, in order.
    #[must_use]
    pub fn known_exports(&self, settings: &Settings) -> Vec<ExportRef> {
        let named = settings.exports.keys().map(|name| ExportRef::Named(name.clone()));
        let mut exports: Vec<ExportRef> = named.chain(self.exports.inline_used()).collect();
        exports.retain(|id| settings.resolve(id).is_ok());
        exports.sort();
        // The volumes on a share are listed once, with whatever versions of NFS they are used.
        exports.dedup_by(|later, earlier| later.is_same_place(earlier));
        exports
    }
}

/// The handle of the volume with this key and record. A volume of csi-driver-nfs keeps its handle when it gets a record.
pub(in crate::volume) fn handle_of(id: &ExportRef, key: VolumeKey, record: &Record) -> Result<VolumeHandle> {
    let own = VolumeHandle::parse(&record.name).filter(|handle| handle.csi_driver_nfs.is_some());
    own.map_or_else(|| VolumeHandle::new(id.reached_with(record.reach.clone()), key), Ok)
}

/// The export of a list that is the same as this one. A token has it with the options of the last volume in the list.
pub fn listed(exports: &[ExportRef], export: &ExportRef) -> Result<ExportRef> {
    exports.iter().find(|listed| listed.is_same_place(export)).cloned().ok_or(Error::BadToken)
}
