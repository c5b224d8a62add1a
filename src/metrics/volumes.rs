//! The metrics of single volumes. The configuration says how many volumes of each export have them.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::exports::{Facts, LABEL};
use crate::volume::name::pvc::Pvc;
use crate::volume::share::quota::{Counts, Report};
use crate::volume::share::survey::OfVolume;

/// One metric: its name, what it says, and its value, if that is known.
type Metric = (&'static str, &'static str, fn(&OfVolume) -> Option<u64>);

const METRICS: [Metric; 5] = [
    ("volume_promised_bytes", "The capacity of the volume; no value if none was asked for", |of| {
        above_zero(of.promised_bytes)
    }),
    ("volume_limit_bytes", "How many bytes the file system of the server allows to the volume", |of| {
        counted(of, |report| report.limit_bytes).and_then(above_zero)
    }),
    ("volume_used_bytes", "How many bytes the volume uses, as the quota agent has counted", |of| {
        counted(of, |report| report.used_bytes)
    }),
    (
        "volume_limit_inodes",
        "How many files and directories the file system of the server allows to the volume",
        |of| counted(of, |report| report.limit_inodes).and_then(above_zero),
    ),
    (
        "volume_used_inodes",
        "How many files and directories the volume has, as the quota agent has counted",
        |of| counted(of, |report| report.used_inodes),
    ),
];

fn counted(of: &OfVolume, value: fn(&Report) -> u64) -> Option<u64> {
    of.report.as_ref().map(value)
}

fn above_zero(number: u64) -> Option<u64> {
    Some(number).filter(|number| *number > 0)
}

/// The metrics of the single volumes of these exports.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, facts: &[Facts]) -> fmt::Result {
    for (name, help, value) in METRICS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for of in facts {
            for volume in of.survey.iter().flat_map(|survey| &survey.single) {
                let Some(value) = value(volume) else { continue };
                let claim = volume.pvc.as_ref();
                let labels = [
                    (LABEL, of.name.as_str()),
                    ("namespace", claim.map_or("", Pvc::namespace)),
                    ("claim", claim.map_or("", Pvc::name)),
                    ("volume", volume.key.as_str()),
                ];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

/// How many volumes are in each state for the quota agents of these exports.
pub(super) fn encode_states(encoder: &mut DescriptorEncoder<'_>, facts: &[Facts]) -> fmt::Result {
    let help = "Volumes in each state, as the quota agent has counted them at its last look at all";
    let mut family = encoder.encode_descriptor("export_quota_volumes", help, None, MetricType::Gauge)?;
    for of in facts {
        for (state, count) in of.counts().iter().flat_map(Counts::states) {
            let labels = [(LABEL, of.name.as_str()), ("state", state)];
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
