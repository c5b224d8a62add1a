//! The places of all lanes, and the calls that wait for one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::oneshot;

use super::deadline::Deadline;
use super::lane::{EXPORTS, FIXED, Lane};
pub use super::queue::Load;
use super::queue::{Begun, Queue, TooManyLanes, Waiter};
use super::silence::{Contact, PATIENCE, Silences};
use crate::csi::status::CallError;
use crate::linux::NfsSource;

/// If all places for unpublishing have been taken for so long, the service does not work any more.
const STUCK: Duration = Duration::from_mins(1);

/// All lanes of a process.
#[derive(Clone, Default)]
pub struct Places(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue<oneshot::Sender<Place>>>,
    silences: Silences,
}

impl Waiter for oneshot::Sender<Place> {
    fn has_gone(&self) -> bool {
        self.is_closed()
    }
}

impl Places {
    /// Gives the lanes of all exports this width.
    pub fn set_width(&self, width: usize) {
        let begun = self.queue().set_width(width);
        self.hand_out(begun);
    }

    /// Waits for a place in a lane until the deadline.
    pub async fn enter(&self, lane: &Lane, deadline: Deadline) -> Result<Place, CallError> {
        let turn = {
            let mut queue = self.queue();
            match queue.begin(lane) {
                Err(TooManyLanes) => return Err(CallError::TooManyExports(EXPORTS)),
                Ok(Some(id)) => return Ok(self.place(lane.clone(), id)),
                Ok(None) => {
                    let (waiter, turn) = oneshot::channel();
                    queue.wait(lane, waiter);
                    turn
                }
            }
        };
        match tokio::time::timeout(deadline.left(), turn).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(self.crowded(lane)),
        }
    }

    /// Whether all places for unpublishing have been taken for longer than an unpublish can take.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let (running, oldest) = self.queue().running(&Lane::Unpublish);
        running >= FIXED && oldest.is_some_and(|oldest| oldest.elapsed() > STUCK)
    }

    /// How long calls have waited for the export of a lane without an answer.
    #[must_use]
    pub fn unanswered(&self, lane: &Lane) -> Option<Duration> {
        self.queue().unanswered_since(lane).map(|since| since.elapsed())
    }

    /// The lanes in which calls run or wait, with their calls.
    #[must_use]
    pub fn loads(&self) -> Vec<Load> {
        self.queue().loads(PATIENCE)
    }

    /// What is known of an export's answers.
    #[must_use]
    pub fn contact(&self, export: &NfsSource) -> Contact {
        self.0.silences.contact(export)
    }

    /// The exports that did not answer when they were needed last.
    #[must_use]
    pub fn silent_exports(&self) -> Vec<NfsSource> {
        self.0.silences.all().into_iter().map(|(export, _)| export).collect()
    }

    /// Logs each export that has become silent since the last look. The server calls this every second.
    pub fn look_for_silence(&self) {
        for Load { lane, running, unanswered_since, .. } in self.loads() {
            if let (Lane::Export(export), Some(since)) = (lane, unanswered_since) {
                self.0.silences.consider(export, running, since);
            }
        }
    }

    fn crowded(&self, lane: &Lane) -> CallError {
        let mut queue = self.queue();
        let (running, oldest) = queue.running(lane);
        queue.forget_if_unused(lane);
        CallError::Crowded {
            running,
            lane: lane.to_string(),
            longest: oldest.map_or(Duration::ZERO, |o| o.elapsed()),
        }
    }

    fn place(&self, lane: Lane, id: u64) -> Place {
        if let Lane::Export(source) = &lane {
            self.0.silences.count(source);
        }
        Place { places: self.clone(), lane, id, answered: false }
    }

    /// Outside of the lock: a place that nobody takes is given back at once.
    fn hand_out(&self, begun: Vec<Begun<oneshot::Sender<Place>>>) {
        for (lane, id, waiter) in begun {
            drop(waiter.send(self.place(lane, id)));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Place>>> {
        self.0.queue.lock()
    }
}

/// A place in a lane. It moves into the work and is free again when the work has ended.
pub struct Place {
    places: Places,
    lane: Lane,
    id: u64,
    answered: bool,
}

impl Place {
    /// Records that the server has answered the work of this place.
    pub fn answered(&mut self) {
        self.answered = true;
        if let Lane::Export(source) = &self.lane {
            self.places.0.silences.end(source);
        }
    }

    /// Records why the work of this place could not reach the server.
    pub fn unreachable(&mut self, reason: &str) {
        if let Lane::Export(source) = &self.lane {
            self.places.0.silences.begin(source, reason);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let begun = self.places.queue().end(&self.lane, self.id, self.answered);
        self.places.hand_out(begun);
    }
}
