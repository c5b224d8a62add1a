//! Exports that do not answer, and when the others have answered last. The log has one line when an export falls silent and one when it is
//! back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::linux::NfsSource;

/// An export is silent when calls have waited for so long and none was answered.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The most silent exports, and the most answers, that are remembered. If there are more, the oldest one is forgotten.
const MOST: usize = 256;

/// The exports that do not answer now, and the last answer of each export.
#[derive(Debug, Default)]
pub(super) struct Silences {
    silent: Mutex<HashMap<NfsSource, Silence>>,
    answers: Mutex<HashMap<NfsSource, Instant>>,
}

/// What is known of an export's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Since when the export does not answer; `None` if it answered the last time.
    pub silent_since: Option<Instant>,
    /// When it has answered last; `None` if that is not known.
    pub answered: Option<Instant>,
}

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
        let mut silent = self.silent.lock();
        if silent.contains_key(&export) {
            return;
        }
        make_room(&mut silent, |silence| silence.since);
        let (calls, seconds) = (silence.calls, silence.since.elapsed().as_secs());
        tracing::warn!(export = %export, calls, seconds, reason, "the export does not answer");
        silent.insert(export, silence);
    }

    /// Counts a call that begins, if the export is silent.
    pub(super) fn count(&self, export: &NfsSource) {
        if let Some(silence) = self.silent.lock().get_mut(export) {
            silence.calls += 1;
        }
    }

    /// Records that the export has answered a call.
    pub(super) fn end(&self, export: &NfsSource) {
        let mut answers = self.answers.lock();
        if let Some(answered) = answers.get_mut(export) {
            *answered = Instant::now();
        } else {
            make_room(&mut answers, |answered| *answered);
            answers.insert(export.clone(), Instant::now());
        }
        drop(answers);
        if let Some(Silence { since, calls }) = self.silent.lock().remove(export) {
            let seconds = since.elapsed().as_secs();
            tracing::info!(export = %export, seconds, calls, "the export answers again");
        }
    }

    /// What is known of an export's answers.
    pub(super) fn contact(&self, export: &NfsSource) -> Contact {
        Contact {
            silent_since: self.silent.lock().get(export).map(|silence| silence.since),
            answered: self.answers.lock().get(export).copied(),
        }
    }

    /// All silent exports, and since when each is silent.
    pub(super) fn all(&self) -> Vec<(NfsSource, Duration)> {
        self.silent.lock().iter().map(|(export, silence)| (export.clone(), silence.since.elapsed())).collect()
    }
}

/// Forgets the oldest entry if there is no room for another one.
fn make_room<V>(entries: &mut HashMap<NfsSource, V>, time: impl Fn(&V) -> Instant) {
    if entries.len() >= MOST
        && let Some(oldest) =
            entries.iter().min_by_key(|(_, entry)| time(entry)).map(|(export, _)| export.clone())
    {
        entries.remove(&oldest);
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
        assert_eq!(
            silences.silent.lock()[&export("dead")].calls,
            4,
            "all calls that have waited are counted"
        );
        let mut silent: Vec<String> = silences.all().into_iter().map(|(export, _)| export.server).collect();
        silent.sort();
        assert_eq!(silent, ["cold", "dead"]);
        assert!(silences.contact(&export("dead")).silent_since.is_some_and(|since| since < now));
        assert_eq!(silences.contact(&export("dead")).answered, None);
        silences.end(&export("dead"));
        assert_eq!(silences.all().len(), 1);
        let contact = silences.contact(&export("dead"));
        assert!(contact.silent_since.is_none() && contact.answered.is_some_and(|answered| answered >= now));
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
    fn the_memory_for_exports_is_bounded() {
        let silences = Silences::default();
        for number in 0..2 * MOST {
            silences.begin(&export(&format!("nas-{number}")), "no NFS server answers");
        }
        assert_eq!(silences.all().len(), MOST);
        for number in 0..2 * MOST {
            silences.end(&export(&format!("nas-{number}")));
        }
        assert_eq!((silences.all().len(), silences.answers.lock().len()), (0, MOST));
        assert!(silences.contact(&export(&format!("nas-{}", 2 * MOST - 1))).answered.is_some());
    }
}
