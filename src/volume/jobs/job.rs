//! One copy that waits or runs.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::linux::copy::Progress;
use crate::volume::error::{Error, Result};

use super::turns::Route;

/// Shared between the thread that copies and the calls that wait for it.
pub(super) struct Job {
    /// Whether it changes the group of a tree instead of copying one. This matters for messages only.
    pub(super) of_group: bool,
    pub(super) progress: Progress,
    /// Between which exports it goes, and what is copied, which must not be deleted meanwhile.
    pub(super) route: Route,
    asked: Instant,
    /// Since when it runs. Until then it waits for its turn.
    begun: Mutex<Option<Instant>>,
}

impl Job {
    pub(super) fn new(of_group: bool, route: Route) -> Self {
        Self {
            of_group,
            progress: Progress::default(),
            route,
            asked: Instant::now(),
            begun: Mutex::new(None),
        }
    }

    /// Notes that it runs from now on.
    pub(super) fn begin(&self, time: Option<Duration>) {
        *self.begun.lock() = Some(Instant::now());
        self.limit(time);
    }

    /// Sets how long it may run in all.
    pub(super) fn limit(&self, time: Option<Duration>) {
        let end = |begun: Instant| time.and_then(|time| begun.checked_add(time));
        if let Some(begun) = *self.begun.lock() {
            self.progress.end_at(end(begun));
        }
    }

    /// Does the work. A panic ends only this copy.
    pub(super) fn work(&self, work: impl FnOnce(&Progress) -> Result<()>) -> Result<()> {
        let work = std::panic::AssertUnwindSafe(|| work(&self.progress));
        match std::panic::catch_unwind(work) {
            Err(_) => Err(Error::Precondition(
                "the driver has a bug: a copy panicked; its log says where".to_owned(),
            )),
            Ok(Err(Error::Cancelled)) if self.progress.is_overdue() => Err(Error::Precondition(
                "the copy has taken longer than `limits.copyTime` in the driver's configuration allows, and was given up: allow more \
                 time, or copy less"
                    .to_owned(),
            )),
            Ok(result) => result,
        }
    }

    /// Writes into the log how it ended.
    pub(super) fn log(&self, key: &str, result: &Result<()>) {
        let seconds = self.asked.elapsed().as_secs_f64();
        let (files, bytes) = (self.progress.files(), self.progress.bytes());
        match result {
            Ok(()) if self.of_group => tracing::info!(key, entries = files, seconds, "group changed"),
            // The publish that asks next says it.
            Err(error) if self.of_group => {
                tracing::debug!(key, entries = files, seconds, %error, "group not changed");
            }
            Ok(()) => tracing::info!(key, files, bytes, seconds, "copied"),
            Err(error) => tracing::warn!(key, files, bytes, seconds, %error, "not copied"),
        }
    }

    /// How far it is, for whoever asks again.
    pub(super) fn describe(&self) -> String {
        let Some(begun) = *self.begun.lock() else {
            let what = if self.of_group { "change of the group" } else { "copy" };
            let seconds = self.asked.elapsed().as_secs();
            return format!("the {what} has been waiting for {seconds} s for others to end; ask again");
        };
        let seconds = begun.elapsed().as_secs_f64();
        if self.of_group {
            return format!(
                "giving the volume to the group of the pod for {seconds:.0} s: {} entries; ask again",
                self.progress.files()
            );
        }
        let (files, bytes) = (self.progress.files(), self.progress.bytes());
        #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
        let rate = bytes as f64 / seconds.max(0.001) / f64::from(1 << 20);
        format!("copying for {seconds:.0} s: {files} files, {bytes} bytes, {rate:.1} MiB/s; ask again")
    }
}
