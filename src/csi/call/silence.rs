//! Exports that do not answer. The log has one line when an export falls silent and one when it is back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::linux::NfsSource;

/// An export is silent when calls have waited for so long and none was answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most silent exports that are remembered. If there are more, the one that has been silent longest is forgotten.
const MOST: usize = 256;

/// The exports that do not answer now.
#[derive(Debug, Default)]
pub(super) struct Silences(Mutex<HashMap<NfsSource, Silence>>);

#[derive(Debug)]
struct Silence {
    since: Instant,
    calls: usize,
}

impl Silences {
    /// Checks an export whose calls have waited since `since`.
    pub(super) fn consider(&self, export: NfsSource, calls: usize, since: Instant) {
        if since.elapsed() >= PATIENCE {
            self.insert(export, Silence { since, calls }, "no call has been answered");
        }
    }

    /// Records that a call could not reach the export.
    pub(super) fn begin(&self, export: &NfsSource, reason: &str) {
        self.insert(export.clone(), Silence { since: Instant::now(), calls: 1 }, reason);
    }

    fn insert(&self, export: NfsSource, silence: Silence, reason: &str) {
        let mut silent = self.0.lock();
        if silent.contains_key(&export) {
            return;
        }
        if silent.len() >= MOST
            && let Some(oldest) =
                silent.iter().min_by_key(|(_, silence)| silence.since).map(|(export, _)| export.clone())
        {
            silent.remove(&oldest);
        }
        let (calls, seconds) = (silence.calls, silence.since.elapsed().as_secs());
        tracing::warn!(export = %export, calls, seconds, reason, "the export does not answer");
        silent.insert(export, silence);
    }

    /// Counts a call that begins, if the export is silent.
    pub(super) fn count(&self, export: &NfsSource) {
        if let Some(silence) = self.0.lock().get_mut(export) {
            silence.calls += 1;
        }
    }

    /// Records that the export has answered a call.
    pub(super) fn end(&self, export: &NfsSource) {
        if let Some(Silence { since, calls }) = self.0.lock().remove(export) {
            let seconds = since.elapsed().as_secs();
            tracing::info!(export = %export, seconds, calls, "the export answers again");
        }
    }

    /// All silent exports, and since when each is silent.
    pub(super) fn all(&self) -> Vec<(NfsSource, Duration)> {
        self.0.lock().iter().map(|(export, silence)| (export.clone(), silence.since.elapsed())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(name: &str) -> NfsSource {
        NfsSource { server: name.to_owned(), share: "/srv".to_owned() }
    }

    #[test]
    fn an_export_is_silent_from_ten_seconds_without_an_answer_until_the_next_one() {
        let silences = Silences::default();
        let now = Instant::now();
        silences.consider(export("slow"), 1, now.checked_sub(Duration::from_secs(9)).unwrap());
        assert!(silences.all().is_empty());
        silences.consider(export("dead"), 3, now.checked_sub(Duration::from_secs(11)).unwrap());
        silences.begin(&export("cold"), "no NFS server answers");
        silences.count(&export("dead"));
        assert_eq!(silences.0.lock()[&export("dead")].calls, 4, "all calls that have waited are counted");
        let mut silent: Vec<String> = silences.all().into_iter().map(|(export, _)| export.server).collect();
        silent.sort();
        assert_eq!(silent, ["cold", "dead"]);
        silences.end(&export("dead"));
        assert_eq!(silences.all().len(), 1);
    }

    #[test]
    fn a_silence_is_one_and_keeps_its_beginning() {
        let silences = Silences::default();
        let began = Instant::now().checked_sub(Duration::from_mins(5)).unwrap();
        silences.consider(export("dead"), 1, began);
        silences.begin(&export("dead"), "no NFS server answers");
        silences.consider(export("dead"), 9, Instant::now());
        let silent = silences.all();
        assert!(silent.len() == 1 && silent[0].1 >= Duration::from_mins(5), "{silent:?}");
    }

    #[test]
    fn the_memory_for_silent_exports_is_bounded() {
        let silences = Silences::default();
        for number in 0..2 * MOST {
            silences.begin(&export(&format!("nas-{number}")), "no NFS server answers");
        }
        assert_eq!(silences.all().len(), MOST);
    }
}
