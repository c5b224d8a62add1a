//! Who may run and who waits: the bookkeeping behind [`super::lane`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use super::lane::{EXPORTS, FIXED, Lane, RESERVED, SHARED_BY_CALLS, SHARED_BY_COPIES, WIDTH};

/// All lanes in which a call runs or waits. A lane that nobody uses is not kept.
pub(super) struct Queue<W> {
    width: usize,
    lanes: HashMap<Lane, Calls<W>>,
    next_id: u64,
}

struct Calls<W> {
    /// When each call that runs has begun.
    running: BTreeMap<u64, Instant>,
    waiting: VecDeque<W>,
    /// When a call of this lane was last answered by the server.
    answered: Option<Instant>,
}

/// A call that may begin now: its lane, its number there, and whom to tell.
pub(super) type Begun<W> = (Lane, u64, W);

/// Somebody who waits for a place.
pub(super) trait Waiter {
    /// Whether nobody waits for this place any more.
    fn has_gone(&self) -> bool;
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { width: WIDTH, lanes: HashMap::new(), next_id: 0 }
    }
}

impl<W: Waiter> Queue<W> {
    /// Begins a call if there is a place for it. The error means that there are too many lanes already.
    pub(super) fn begin(&mut self, lane: &Lane) -> Result<Option<u64>, TooManyLanes> {
        if !self.lanes.contains_key(lane) && self.lanes_like(lane) >= EXPORTS {
            return Err(TooManyLanes);
        }
        let waits = self.lanes.get(lane).is_some_and(|calls| !calls.waiting.is_empty());
        Ok((!waits && self.has_place(lane)).then(|| self.place(lane)))
    }

    /// Has a call wait for its turn, after those that wait already.
    pub(super) fn wait(&mut self, lane: &Lane, waiter: W) {
        let calls = self.lanes.entry(lane.clone()).or_default();
        calls.waiting.retain(|waiter| !waiter.has_gone());
        calls.waiting.push_back(waiter);
    }

    /// Ends a call. Returns those that may begin in its place.
    pub(super) fn end(&mut self, lane: &Lane, id: u64, answered: bool) -> Vec<Begun<W>> {
        let shared_was_full = self.shared_is_full(lane);
        if let Some(calls) = self.lanes.get_mut(lane) {
            calls.running.remove(&id);
            if answered {
                calls.answered = Some(Instant::now());
            }
        }
        let mut begun = self.begin_waiting(lane);
        if shared_was_full {
            // The place that became free is anybody's.
            let others: Vec<Lane> = self.lanes.keys().filter(|other| *other != lane).cloned().collect();
            begun.extend(others.iter().flat_map(|other| self.begin_waiting(other)));
        }
        self.forget_if_unused(lane);
        begun
    }

    /// Gives all lanes of exports this width. Calls that run go on in a lane that has become narrower. Returns the calls
    /// that may begin in a lane that has become wider.
    pub(super) fn set_width(&mut self, width: usize) -> Vec<Begun<W>> {
        self.width = width;
        let lanes: Vec<Lane> = self.lanes.keys().cloned().collect();
        lanes.iter().flat_map(|lane| self.begin_waiting(lane)).collect()
    }

    /// Forgets those who do not wait any more.
    pub(super) fn forget_if_unused(&mut self, lane: &Lane) {
        let Some(calls) = self.lanes.get_mut(lane) else { return };
        calls.waiting.retain(|waiter| !waiter.has_gone());
        if calls.running.is_empty() && calls.waiting.is_empty() {
            self.lanes.remove(lane);
        }
    }

    /// How many calls run in a lane, and since when the one that has run longest.
    pub(super) fn running(&self, lane: &Lane) -> (usize, Option<Instant>) {
        self.lanes
            .get(lane)
            .map_or((0, None), |calls| (calls.running.len(), calls.running.values().next().copied()))
    }

    /// Since when the server has let calls of this lane wait. `None` if no call waits for it.
    pub(super) fn unanswered_since(&self, lane: &Lane) -> Option<Instant> {
        let calls = self.lanes.get(lane)?;
        let oldest = *calls.running.values().next()?;
        Some(calls.answered.map_or(oldest, |answered| answered.max(oldest)))
    }

    /// The lanes in which calls run.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.keys()
    }

    fn begin_waiting(&mut self, lane: &Lane) -> Vec<Begun<W>> {
        let mut begun = Vec::new();
        while self.has_place(lane) {
            let Some(waiter) = self.lanes.get_mut(lane).and_then(|calls| calls.waiting.pop_front()) else {
                break;
            };
            if !waiter.has_gone() {
                begun.push((lane.clone(), self.place(lane), waiter));
            }
        }
        begun
    }

    fn place(&mut self, lane: &Lane) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.lanes.entry(lane.clone()).or_default().running.insert(id, Instant::now());
        id
    }

    fn has_place(&self, lane: &Lane) -> bool {
        let (running, _) = self.running(lane);
        match lane {
            Lane::Export(_) | Lane::Copies(_) => {
                running < self.width && (running < RESERVED || !self.shared_is_full(lane))
            }
            Lane::Unpublish | Lane::Lists | Lane::Local => running < FIXED,
        }
    }

    /// Whether all places are taken that lanes of this kind share.
    fn shared_is_full(&self, lane: &Lane) -> bool {
        let shared = match lane {
            Lane::Export(_) => SHARED_BY_CALLS,
            Lane::Copies(_) => SHARED_BY_COPIES,
            Lane::Unpublish | Lane::Lists | Lane::Local => return false,
        };
        let taken = |calls: &Calls<W>| calls.running.len().saturating_sub(RESERVED);
        self.like(lane).map(taken).sum::<usize>() >= shared
    }

    fn lanes_like(&self, lane: &Lane) -> usize {
        self.like(lane).count()
    }

    fn like<'a>(&'a self, lane: &'a Lane) -> impl Iterator<Item = &'a Calls<W>> {
        let kind = std::mem::discriminant(lane);
        self.lanes
            .iter()
            .filter(move |(other, _)| std::mem::discriminant(*other) == kind)
            .map(|(_, calls)| calls)
    }
}

/// There are as many lanes of exports as there may be.
#[derive(Debug)]
pub(super) struct TooManyLanes;

impl<W> Default for Calls<W> {
    fn default() -> Self {
        Self { running: BTreeMap::new(), waiting: VecDeque::new(), answered: None }
    }
}
