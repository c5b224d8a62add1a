//! A bounded number of blocking calls for each export, so that one silent server holds a few threads and no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls that may block on one export at once, unless the configuration says otherwise. More wait for their turn.
pub const WIDTH: usize = 16;

/// The lanes by name. There are as many as exports; none is ever removed.
#[derive(Debug, Clone)]
pub struct Lanes(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    width: usize,
    lanes: HashMap<String, Arc<Semaphore>>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { width: WIDTH, lanes: HashMap::new() })))
    }
}

impl Lanes {
    /// Calls that may block on one export at once.
    #[must_use]
    pub fn width(&self) -> usize {
        self.state().width
    }

    /// Makes all lanes this wide. A narrower lane keeps the calls that are in it.
    pub fn set_width(&self, width: usize) {
        let mut state = self.state();
        for lane in state.lanes.values() {
            lane.add_permits(width.saturating_sub(state.width));
            lane.forget_permits(state.width.saturating_sub(width));
        }
        state.width = width;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place in the lane `name`, for at most `timeout`. `None`: all places stayed taken.
    pub async fn enter(&self, name: &str, timeout: Duration) -> Option<OwnedSemaphorePermit> {
        let lane = {
            let mut state = self.state();
            let width = state.width;
            Arc::clone(state.lanes.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(width))))
        };
        tokio::time::timeout(timeout, lane.acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_lane_leaves_the_others_alone() {
        let lanes = Lanes::default();
        let mut places = Vec::new();
        for _ in 0..WIDTH {
            places.push(lanes.enter("dead", Duration::ZERO).await.unwrap());
        }
        assert!(lanes.enter("dead", Duration::ZERO).await.is_none());
        assert!(lanes.enter("alive", Duration::ZERO).await.is_some());
        places.pop();
        assert!(lanes.enter("dead", Duration::ZERO).await.is_some());
    }
}
