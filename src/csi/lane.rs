//! A bounded number of blocking calls for each export, so that one silent server holds a few threads and no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls that may block on one export at once. More wait for their turn.
pub const WIDTH: usize = 16;

/// The lanes by name. There are as many as exports; none is ever removed.
#[derive(Debug, Clone, Default)]
pub struct Lanes(Arc<Mutex<HashMap<String, Arc<Semaphore>>>>);

impl Lanes {
    /// Waits for a place in the lane `name`, for at most `patience`. `None`: all places stayed taken.
    pub async fn enter(&self, name: &str, patience: Duration) -> Option<OwnedSemaphorePermit> {
        let lane = {
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match lanes.get(name) {
                Some(lane) => Arc::clone(lane),
                None => Arc::clone(
                    lanes.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(WIDTH))),
                ),
            }
        };
        tokio::time::timeout(patience, lane.acquire_owned()).await.ok()?.ok()
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
