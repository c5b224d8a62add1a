//! What the agent counts at each look at all volumes of a share.

use serde::{Deserialize, Serialize};

use crate::volume::share::quota::State;

/// How many volumes are in each state, and what is in the trash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    enforced: u64,
    counted: u64,
    over: u64,
    tagging: u64,
    waiting: u64,
    refused: u64,
    /// What deleted volumes use that wait to be removed, in bytes.
    pub trash_bytes: u64,
}

impl Counts {
    /// Counts a volume.
    pub fn add(&mut self, state: State) {
        *match state {
            State::Enforced => &mut self.enforced,
            State::Counted => &mut self.counted,
            State::Over => &mut self.over,
            State::Tagging => &mut self.tagging,
            State::Waiting => &mut self.waiting,
            State::Refused => &mut self.refused,
        } += 1;
    }

    /// How many volumes are in each state.
    #[must_use]
    pub fn states(&self) -> [(&'static str, u64); 6] {
        [
            ("enforced", self.enforced),
            ("counted", self.counted),
            ("over", self.over),
            ("tagging", self.tagging),
            ("waiting", self.waiting),
            ("refused", self.refused),
        ]
    }
}
