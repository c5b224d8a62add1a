//! What a survey says of single volumes.

use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::pvc::Pvc;
use crate::volume::share::quota::{QuotaFolder, Report, State};
use crate::volume::share::record::Record;

/// What is known of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfVolume {
    /// Its key.
    pub key: VolumeKey,
    /// The claim that it was created for, if that is known.
    pub pvc: Option<Pvc>,
    /// Its capacity in bytes; 0 if none was asked for.
    pub promised_bytes: u64,
    /// What the quota agent has counted, if it has given a sign of life not long ago and has counted the volume.
    pub report: Option<Report>,
}

impl OfVolume {
    pub(super) fn new(key: VolumeKey, record: &Record) -> Self {
        Self { key, pvc: record.pvc.clone(), promised_bytes: record.capacity_bytes, report: None }
    }
}

/// Adds what the quota agent says of these volumes, which are in the order of their keys.
pub(super) fn add_reports(volumes: &mut [OfVolume], folder: &QuotaFolder) -> Result<()> {
    if volumes.is_empty() {
        return Ok(());
    }
    let keys: Vec<VolumeKey> = volumes.iter().map(|volume| volume.key.clone()).collect();
    let mut reports = folder.read_all(&keys)?.into_iter().peekable();
    for volume in volumes {
        let report = reports.next_if(|(key, _)| *key == volume.key).map(|(_, report)| report);
        // In the other states, the numbers say nothing.
        volume.report = report.filter(|report| {
            report.project != 0 && matches!(report.state, State::Enforced | State::Counted | State::Over)
        });
    }
    Ok(())
}
