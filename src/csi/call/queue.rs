//! Which calls run and which wait for a place. [`super::lane`] has the rules.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::lane::{EXPORTS, FIXED, Lane, RESERVED, SHARED_BY_CALLS, SHARED_BY_COPIES, WIDTH};

/// All lanes in which a call runs or waits. A lane that nobody uses is not kept.
pub(super) struct Queue<W> {
    width: usize,
    lanes: HashMap<Lane, Calls<W>>,
    next_id: u64,
}

struct Calls<W> {
    /// When each running call has begun.
    running: BTreeMap<u64, Instant>,
    waiting: VecDeque<W>,
    /// When a call of this lane was last answered by the server.
    answered: Option<Instant>,
}

/// The calls of one lane.
#[derive(Debug)]
pub struct Load {
    /// The lane.
    pub lane: Lane,
    /// How many calls run.
    pub running: usize,
    /// How many of them have run for so long that they seem to hang.
    pub hung: usize,
    /// How many calls wait for a place.
    pub waiting: usize,
    /// Since when the calls have waited for the server; `None` if no call runs.
    pub unanswered_since: Option<Instant>,
}

/// A call that may begin now: its lane, its number in the lane, and its waiter.
pub(super) type Begun<W> = (Lane, u64, W);

/// A call that waits for a place.
pub(super) trait Waiter {
    /// Whether the call does not wait any more.
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

    /// Adds a call to the end of the queue of its lane.
    pub(super) fn wait(&mut self, lane: &Lane, waiter: W) {
        let calls = self.lanes.entry(lane.clone()).or_default();
        calls.waiting.retain(|waiter| !waiter.has_gone());
        calls.waiting.push_back(waiter);
    }

    /// Ends a call. Returns the calls that may begin in its place.
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
            // The free place was a shared one, so a call of any lane may take it.
            let others: Vec<Lane> = self.lanes.keys().filter(|other| *other != lane).cloned().collect();
            begun.extend(others.iter().flat_map(|other| self.begin_waiting(other)));
        }
        self.forget_if_unused(lane);
        begun
    }

    /// Gives all lanes of exports this width. If a lane becomes narrower, its running calls continue. Returns the calls that may begin
    /// because their lane has become wider.
    pub(super) fn set_width(&mut self, width: usize) -> Vec<Begun<W>> {
        self.width = width;
        let lanes: Vec<Lane> = self.lanes.keys().cloned().collect();
        lanes.iter().flat_map(|lane| self.begin_waiting(lane)).collect()
    }

    /// Removes the calls that do not wait any more.
    pub(super) fn forget_if_unused(&mut self, lane: &Lane) {
        let Some(calls) = self.lanes.get_mut(lane) else { return };
        calls.waiting.retain(|waiter| !waiter.has_gone());
        if calls.running.is_empty() && calls.waiting.is_empty() {
            self.lanes.remove(lane);
        }
    }

    /// How many calls run in a lane, and since when the oldest of them runs.
    pub(super) fn running(&self, lane: &Lane) -> (usize, Option<Instant>) {
        self.lanes
            .get(lane)
            .map_or((0, None), |calls| (calls.running.len(), calls.running.values().next().copied()))
    }

    /// Since when the calls of this lane have waited for the server. `None` if no call waits.
    pub(super) fn unanswered_since(&self, lane: &Lane) -> Option<Instant> {
        let calls = self.lanes.get(lane)?;
        let oldest = *calls.running.values().next()?;
        Some(calls.answered.map_or(oldest, |answered| answered.max(oldest)))
    }

    /// The lanes in which calls run or wait, with their calls. `hung` says how long a call must run to count as hung.
    pub(super) fn loads(&self, hung: Duration) -> Vec<Load> {
        let load = |(lane, calls): (&Lane, &Calls<W>)| Load {
            lane: lane.clone(),
            running: calls.running.len(),
            hung: calls.running.values().filter(|begun| begun.elapsed() >= hung).count(),
            waiting: calls.waiting.iter().filter(|waiter| !waiter.has_gone()).count(),
            unanswered_since: self.unanswered_since(lane),
        };
        self.lanes.iter().map(load).collect()
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

    /// Whether all shared places of this kind of lane are taken.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::NfsSource;

    /// A waiter with a name, who is always there.
    struct Caller(&'static str);

    impl Waiter for Caller {
        fn has_gone(&self) -> bool {
            self.0 == "gone"
        }
    }

    fn export(number: usize) -> Lane {
        Lane::Export(NfsSource { server: format!("nas-{number}"), share: "/srv".to_owned() })
    }

    fn names(begun: Vec<Begun<Caller>>) -> Vec<&'static str> {
        begun.into_iter().map(|(_, _, caller)| caller.0).collect()
    }

    /// Begins calls until there is no place, and returns their numbers.
    fn fill(queue: &mut Queue<Caller>, lane: &Lane) -> Vec<u64> {
        std::iter::from_fn(|| queue.begin(lane).unwrap()).collect()
    }

    #[test]
    fn dead_exports_cannot_take_the_reserved_places_of_another_one() {
        let mut queue = Queue::default();
        let dead: usize = (0..40).map(|number| fill(&mut queue, &export(number)).len()).sum();
        assert_eq!(dead, SHARED_BY_CALLS + 40 * RESERVED, "the shared places are all taken");
        assert_eq!(fill(&mut queue, &export(40)).len(), RESERVED);
        assert_eq!(fill(&mut queue, &Lane::Unpublish).len(), FIXED, "nothing takes the places of unpublish");
        let copies = Lane::Copies(NfsSource { server: "nas-0".to_owned(), share: "/srv".to_owned() });
        assert_eq!(fill(&mut queue, &copies).len(), WIDTH, "copies have places of their own");
    }

    #[test]
    fn whoever_waits_longest_begins_first_and_those_who_have_gone_are_skipped() {
        let mut queue = Queue::default();
        let lane = export(0);
        let running = fill(&mut queue, &lane);
        assert_eq!(running.len(), WIDTH);
        for name in ["first", "gone", "second"] {
            queue.wait(&lane, Caller(name));
        }
        let load = &queue.loads(Duration::ZERO)[0];
        assert_eq!((load.running, load.hung, load.waiting), (WIDTH, WIDTH, 2), "{load:?}");
        assert_eq!(queue.loads(Duration::from_mins(1))[0].hung, 0);
        assert_eq!(names(queue.end(&lane, running[0], true)), ["first"]);
        assert_eq!(names(queue.end(&lane, running[1], true)), ["second"]);
        assert!(queue.end(&lane, running[2], true).is_empty());
    }

    #[test]
    fn a_shared_place_that_becomes_free_is_given_to_a_waiter_of_any_export() {
        let mut queue = Queue::default();
        let running: Vec<Vec<u64>> = (0..40).map(|number| fill(&mut queue, &export(number))).collect();
        queue.wait(&export(39), Caller("other"));
        assert_eq!(names(queue.end(&export(0), running[0][0], false)), ["other"]);
    }

    #[test]
    fn changes_of_the_width_neither_lose_nor_gain_places() {
        let mut queue = Queue::default();
        let lane = export(0);
        let mut running = fill(&mut queue, &lane);
        assert_eq!(running.len(), 16);
        assert!(queue.set_width(4).is_empty());
        queue.wait(&lane, Caller("waiter"));
        for _ in 0..12 {
            assert!(queue.end(&lane, running.pop().unwrap(), true).is_empty(), "the lane is narrower now");
        }
        assert_eq!(names(queue.end(&lane, running.pop().unwrap(), true)), ["waiter"]);
        assert!(queue.set_width(16).is_empty());
        assert_eq!(queue.running(&lane).0 + fill(&mut queue, &lane).len(), 16);
    }

    #[test]
    fn lanes_are_bounded_in_number_and_forgotten_when_nobody_uses_them() {
        let mut queue: Queue<Caller> = Queue::default();
        let ids: Vec<u64> =
            (0..EXPORTS).map(|number| queue.begin(&export(number)).unwrap().unwrap()).collect();
        assert!(queue.begin(&export(EXPORTS)).is_err());
        assert!(queue.begin(&Lane::Unpublish).unwrap().is_some(), "unpublish is not affected");
        for (number, id) in ids.into_iter().enumerate() {
            queue.end(&export(number), id, true);
        }
        assert_eq!(queue.loads(Duration::ZERO).len(), 1);
        assert!(queue.begin(&export(EXPORTS)).unwrap().is_some());
    }

    #[test]
    fn an_export_is_unanswered_since_its_oldest_call_or_its_last_answer() {
        let mut queue: Queue<Caller> = Queue::default();
        let lane = export(0);
        assert_eq!(queue.unanswered_since(&lane), None);
        let before = Instant::now();
        let first = queue.begin(&lane).unwrap().unwrap();
        let _second = queue.begin(&lane).unwrap().unwrap();
        let begun = queue.unanswered_since(&lane).unwrap();
        assert!(begun >= before);
        queue.end(&lane, first, true);
        assert!(queue.unanswered_since(&lane).unwrap() > begun, "the export has answered since");
    }
}
