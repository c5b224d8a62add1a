//! The metrics of each export. Named exports are labelled with their names, the others with server and share.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Service;
use super::process::gauge;
use super::volumes;
use crate::csi::call::lane::Lane;
use crate::csi::call::places::Load;
use crate::csi::call::silence::Contact;
use crate::linux::mountstats::{MountStats, NfsCounters};
use crate::volume::name::export::ExportRef;
use crate::volume::share::quota::Counts;
use crate::volume::share::survey::Survey;

/// For how many exports without a name in the configuration there are metrics. PersistentVolumes name them, so the configuration does not
/// bound their number.
pub const MOST_INLINE: usize = 64;

pub(super) const LABEL: &str = "export";

/// What is known of one export.
pub(super) struct Facts {
    pub(super) name: String,
    contact: Contact,
    load: Calls,
    mounted: bool,
    nfs: Option<NfsCounters>,
    pub(super) survey: Option<Arc<Survey>>,
}

impl Facts {
    /// What the quota agent has counted. Nothing, if it was silent for long when the survey was made.
    pub(super) fn counts(&self) -> Option<Counts> {
        self.survey.as_ref()?.counts
    }
}

/// The calls to one export, those that wait for copies included.
#[derive(Default)]
struct Calls {
    running: usize,
    waiting: usize,
    hung: usize,
}

/// One metric: its name, what it says, its type, and its value, if that is known.
type Metric = (&'static str, &'static str, MetricType, fn(&Facts) -> Option<f64>);

/// The metrics of both services.
const METRICS: [Metric; 12] = [
    (
        "export_up",
        "Whether the export has answered the last call that needed it: 1, or 0 if it is silent. No value before the first answer",
        MetricType::Gauge,
        |of| match of.contact {
            Contact { silent_since: Some(_), .. } => Some(0.0),
            Contact { answered: Some(_), .. } => Some(1.0),
            _ => None,
        },
    ),
    (
        "export_last_answer_timestamp_seconds",
        "When the export has answered a call last, in seconds since 1970",
        MetricType::Gauge,
        |of| of.contact.answered.and_then(when),
    ),
    (
        "export_calls_running",
        "Calls to the export that are being worked on, answered or not",
        MetricType::Gauge,
        |of| Some(float(of.load.running)),
    ),
    (
        "export_calls_waiting",
        "Calls to the export that wait for a place among the running ones",
        MetricType::Gauge,
        |of| Some(float(of.load.waiting)),
    ),
    (
        "export_calls_hung",
        "Calls to the export that have been worked on for more than ten seconds",
        MetricType::Gauge,
        |of| Some(float(of.load.hung)),
    ),
    ("export_mounted", "Whether this process has mounted the export: 1 or 0", MetricType::Gauge, |of| {
        Some(f64::from(u8::from(of.mounted)))
    }),
    (
        "export_nfs_requests",
        "NFS requests to the export that were answered, those of pods on this node included",
        MetricType::Counter,
        |of| nfs(of, |nfs| nfs.requests),
    ),
    (
        "export_nfs_retransmissions",
        "How often an NFS request that was answered in the end was sent again",
        MetricType::Counter,
        |of| nfs(of, |nfs| nfs.retransmissions),
    ),
    (
        "export_nfs_timeouts",
        "How often the NFS client has waited for its whole time limit (timeo and retrans in nfs(5))",
        MetricType::Counter,
        |of| nfs(of, |nfs| nfs.timeouts),
    ),
    (
        "export_nfs_round_trip_seconds",
        "The time between sending an NFS request and its answer, summed up",
        MetricType::Counter,
        |of| nfs(of, |nfs| nfs.round_trip_ms).map(|ms| ms / 1000.0),
    ),
    (
        "export_nfs_read_bytes",
        "Bytes that were read from the export over NFS, those of pods on this node included",
        MetricType::Counter,
        |of| nfs(of, |nfs| nfs.read_bytes),
    ),
    (
        "export_nfs_written_bytes",
        "Bytes that were written to the export over NFS, those of pods on this node included",
        MetricType::Counter,
        |of| nfs(of, |nfs| nfs.written_bytes),
    ),
];

/// The metrics of the controller, which come from its surveys.
const SURVEYS: [Metric; 12] = [
    (
        "export_survey_timestamp_seconds",
        "When the controller has looked last at what lies on the export, in seconds since 1970",
        MetricType::Gauge,
        |of| of.survey.as_ref().and_then(|survey| since_1970(survey.made)),
    ),
    ("export_size_bytes", "The size of the file system of the export", MetricType::Gauge, |of| {
        surveyed(of, |survey| survey.total_bytes)
    }),
    (
        "export_available_bytes",
        "How much of the file system of the export can still be used",
        MetricType::Gauge,
        |of| surveyed(of, |survey| survey.available_bytes),
    ),
    ("export_volumes", "Volumes on the export", MetricType::Gauge, |of| {
        surveyed(of, |survey| survey.volumes)
    }),
    (
        "export_unreadable_records",
        "Volumes on the export whose record this version cannot read",
        MetricType::Gauge,
        |of| surveyed(of, |survey| survey.unreadable),
    ),
    (
        "export_promised_bytes",
        "The sum of the capacities of the volumes on the export",
        MetricType::Gauge,
        |of| surveyed(of, |survey| survey.promised_bytes),
    ),
    ("export_snapshots", "Snapshots on the export, each group counted as one", MetricType::Gauge, |of| {
        surveyed(of, |survey| survey.snapshots)
    }),
    (
        "export_trash_entries",
        "Deleted volumes and snapshots on the export that wait to be removed",
        MetricType::Gauge,
        |of| surveyed(of, |survey| survey.deleted),
    ),
    (
        "export_trash_oldest_timestamp_seconds",
        "When the oldest of them was deleted, by the clock of the server, in seconds since 1970",
        MetricType::Gauge,
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        |of| of.survey.as_ref()?.oldest_deleted.map(|seconds| seconds as f64),
    ),
    (
        "export_trash_bytes",
        "What deleted volumes use that wait to be removed, as the quota agent has counted",
        MetricType::Gauge,
        |of| of.counts().map(|counts| large(counts.trash_bytes)),
    ),
    (
        "export_quota_agent_timestamp_seconds",
        "When the quota agent gave its last sign of life, by the clock of the server, in seconds since 1970",
        MetricType::Gauge,
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        |of| of.survey.as_ref()?.agent.map(|seconds| seconds as f64),
    ),
    (
        "export_volumes_left_out",
        "Volumes that have no metrics of their own, because there are too many; no value if no volume is to have some",
        MetricType::Gauge,
        |of| of.survey.as_ref()?.left_out.map(large),
    ),
];

/// Reads the facts of all exports when somebody asks for metrics.
#[derive(Debug)]
pub(super) struct OfExports(pub(super) Service);

impl Collector for OfExports {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (facts, left_out) = self.facts();
        encode(&mut encoder, &METRICS, &facts)?;
        if matches!(self.0, Service::Controller(..)) {
            encode(&mut encoder, &SURVEYS, &facts)?;
            volumes::encode_states(&mut encoder, &facts)?;
            volumes::encode(&mut encoder, &facts)?;
        }
        let help =
            "Exports without a name in the configuration that have no metrics, because there are too many";
        gauge(&mut encoder, "exports_left_out", help, float(left_out))
    }
}

fn encode(encoder: &mut DescriptorEncoder<'_>, metrics: &[Metric], facts: &[Facts]) -> fmt::Result {
    for (name, help, kind, value) in metrics {
        let mut family = encoder.encode_descriptor(name, help, None, *kind)?;
        for of in facts {
            let Some(value) = value(of) else { continue };
            let labels = [(LABEL, of.name.as_str())];
            let metric = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                _ => ConstGauge::new(value).encode(metric)?,
            }
        }
    }
    Ok(())
}

impl OfExports {
    /// What is known of each export, and how many exports are left out.
    fn facts(&self) -> (Vec<Facts>, usize) {
        let volumes = self.0.volumes();
        let settings = volumes.settings.get();
        let places = self.0.dispatcher().places();
        let mut known = volumes.known_exports(&settings);
        let inline = known.iter().filter(|id| matches!(id, ExportRef::Inline(_))).count();
        let left_out = inline.saturating_sub(MOST_INLINE);
        // Named exports come first.
        known.truncate(known.len() - left_out);
        let loads = places.loads();
        // If the kernel does not say it, there are no values.
        let counters = MountStats::read().unwrap_or_default();
        let mounted = volumes.exports.mounted();
        let of_export = |id: ExportRef| {
            let export = settings.resolve(&id).ok()?;
            let lane = Lane::at(&export);
            let Lane::Export(source) = &lane else { return None };
            let places_of: Vec<&Path> = mounted
                .iter()
                .filter(|(sources, _)| *sources == export.sources)
                .map(|(_, place)| place.as_path())
                .collect();
            Some(Facts {
                name: id.to_string(),
                contact: places.contact(source),
                load: calls(&loads, &lane),
                mounted: !places_of.is_empty(),
                nfs: sum(places_of.iter().filter_map(|place| counters.at(place))),
                survey: match &self.0 {
                    Service::Controller(_, surveys) => surveys.of(&id),
                    Service::Node(_) => None,
                },
            })
        };
        (known.into_iter().filter_map(of_export).collect(), left_out)
    }
}

fn calls(loads: &[Load], lane: &Lane) -> Calls {
    let copies = lane.clone().of_copies();
    let own = loads.iter().filter(|load| load.lane == *lane || load.lane == copies);
    own.fold(Calls::default(), |calls, load| Calls {
        running: calls.running + load.running,
        waiting: calls.waiting + load.waiting,
        // Calls that wait for copies are expected to take long.
        hung: calls.hung + if load.lane == copies { 0 } else { load.hung },
    })
}

/// An export can be mounted several times, with different options.
fn sum<'a>(counters: impl Iterator<Item = &'a NfsCounters>) -> Option<NfsCounters> {
    counters.cloned().reduce(|sum, more| NfsCounters {
        requests: sum.requests + more.requests,
        retransmissions: sum.retransmissions + more.retransmissions,
        timeouts: sum.timeouts + more.timeouts,
        round_trip_ms: sum.round_trip_ms + more.round_trip_ms,
        read_bytes: sum.read_bytes + more.read_bytes,
        written_bytes: sum.written_bytes + more.written_bytes,
        server_copies: sum.server_copies + more.server_copies,
    })
}

fn nfs(of: &Facts, value: impl Fn(&NfsCounters) -> u64) -> Option<f64> {
    of.nfs.as_ref().map(|nfs| large(value(nfs)))
}

fn surveyed(of: &Facts, value: impl Fn(&Survey) -> u64) -> Option<f64> {
    of.survey.as_ref().map(|survey| large(value(survey)))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
fn large(number: u64) -> f64 {
    number as f64
}

fn float(number: usize) -> f64 {
    large(number as u64)
}

/// The time of a moment of this process, in seconds since 1970.
fn when(moment: Instant) -> Option<f64> {
    since_1970(SystemTime::now().checked_sub(moment.elapsed())?)
}

pub(super) fn since_1970(time: SystemTime) -> Option<f64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_metric_is_there_twice() {
        let mut names: Vec<&str> = METRICS.iter().chain(&SURVEYS).map(|(name, ..)| *name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
