//! The metrics that do not belong to one export.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Service;
use super::exports::since_1970;
use crate::csi::call::lane::Lane;

/// Reads them when somebody asks for metrics.
#[derive(Debug)]
pub(super) struct OfProcess(pub(super) Service);

impl Collector for OfProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("service", self.0.name())];
        let mut info = encoder.encode_descriptor(
            "build_info",
            "Version and service; always 1",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(1u64).encode(info.encode_family(&labels)?)?;
        self.places(&mut encoder)?;
        self.copies(&mut encoder)?;
        self.configuration(&mut encoder)?;
        if let Service::Node(node) = &self.0 {
            let help = "How often a server has refused to give a volume to the group of a pod (fsGroup)";
            counter(&mut encoder, "fs_group_refused", help, node.publisher.refused_groups())?;
        }
        Ok(())
    }
}

impl OfProcess {
    /// The calls that wait, by what they wait for. [`super::exports`] has those of each export.
    fn places(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let loads = self.0.dispatcher().places().loads();
        let help = "Calls that wait for a place, by the kind of calls that share places with them";
        let mut family = encoder.encode_descriptor("calls_waiting", help, None, MetricType::Gauge)?;
        for kind in ["exports", "copies", "unpublish", "lists", "local"] {
            let waiting: usize =
                loads.iter().filter(|load| kind_of(&load.lane) == kind).map(|load| load.waiting).sum();
            ConstGauge::new(waiting).encode(family.encode_family(&[("kind", kind)])?)?;
        }
        Ok(())
    }

    fn copies(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Only the controller copies.
        let Service::Controller(controller, _) = &self.0 else { return Ok(()) };
        let totals = controller.volumes.copies.totals();
        gauge(encoder, "copies_running", "Copies of volumes and snapshots that run", totals.running)?;
        gauge(encoder, "copies_waiting", "Copies that wait until others have ended", totals.waiting)?;
        let help =
            "Copies that have ended, by their result: completed, or failed, which includes cancelled ones";
        let mut family = encoder.encode_descriptor("copies", help, None, MetricType::Counter)?;
        for (result, count) in [("completed", totals.completed), ("failed", totals.failed)] {
            ConstCounter::new(count).encode(family.encode_family(&[("result", result)])?)?;
        }
        counter(
            encoder,
            "copied_files",
            "Files that were copied, those of running copies included",
            totals.files,
        )?;
        counter(
            encoder,
            "copied_bytes",
            "Bytes that were copied, those of running copies included",
            totals.bytes,
        )
    }

    fn configuration(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let reloads = &self.0.volumes().settings.reloads;
        let help =
            "Whether the present configuration file can be used: 1, or 0 if the last good one is in force";
        gauge(encoder, "config_last_reload_successful", help, usize::from(!reloads.is_broken()))?;
        let help = "When the configuration in force was read, in seconds since 1970";
        let seconds = since_1970(reloads.taken_up()).unwrap_or_default();
        gauge(encoder, "config_last_reload_success_timestamp_seconds", help, seconds)?;
        let help = "How many configuration files could not be used";
        counter(encoder, "config_reload_failures", help, reloads.failures())
    }
}

/// Adds a gauge without labels.
pub(super) fn gauge<V>(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: V) -> fmt::Result
where
    ConstGauge<V>: EncodeMetric,
{
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn kind_of(lane: &Lane) -> &'static str {
    match lane {
        Lane::Export(_) => "exports",
        Lane::Copies(_) => "copies",
        Lane::Unpublish => "unpublish",
        Lane::Lists => "lists",
        Lane::Local => "local",
    }
}
