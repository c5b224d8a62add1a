//! What is counted of calls, for the metrics: how many have ended how, how long they took, and how many are under way.

use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tonic::Code;

/// The upper ends of the ranges of durations, in seconds. A call without a request to a server takes about a millisecond, one with some
/// requests a hundredth of a second, and the last ranges are the time limits of calls.
const RANGES: [f64; 13] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 90.0, 120.0];

/// The labels of an ended call. There are as many values as there are methods and codes, whatever callers send.
type Ended = [(&'static str, String); 2];
type Method = [(&'static str, &'static str); 1];

/// The calls of a process.
#[derive(Debug, Clone)]
pub struct Tally {
    durations: Family<Ended, Histogram, fn() -> Histogram>,
    in_flight: Family<Method, Gauge>,
}

impl Default for Tally {
    fn default() -> Self {
        let durations = Family::new_with_constructor((|| Histogram::new(RANGES)) as fn() -> Histogram);
        Self { durations, in_flight: Family::default() }
    }
}

impl Tally {
    /// Counts a call that arrives.
    pub(super) fn begin(&self, method: &'static str) {
        self.in_flight.get_or_create(&[("method", method)]).inc();
    }

    /// Counts the end of a call.
    pub(super) fn end(&self, method: &'static str, code: Code, took: Duration) {
        self.in_flight.get_or_create(&[("method", method)]).dec();
        let code = if code == Code::Ok { "OK".to_owned() } else { format!("{code:?}") };
        let ended = [("method", method.to_owned()), ("code", code)];
        self.durations.get_or_create(&ended).observe(took.as_secs_f64());
    }

    /// Adds these metrics to those that are exposed.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "call_duration_seconds",
            "How long calls of CSI took until they were answered, by method and gRPC code",
            self.durations.clone(),
        );
        registry.register(
            "calls_in_flight",
            "Calls of CSI that have arrived and are not answered yet, by method",
            self.in_flight.clone(),
        );
    }
}
