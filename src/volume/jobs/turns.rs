//! Whose turn it is to run: how many copies run at the same time, and between which exports.
//!
//! A copy depends on the servers of two exports, and hangs while one of them does not answer. So the copies of each way, from one export
//! to one export, have turns of their own. Two of them are always there. The others come out of a number that all ways share, so
//! that the threads of all copies are bounded, and copies that hang can never take the last turns of another way.

use std::collections::HashMap;

use crate::linux::NfsSource;

/// How many copies of one way run at the same time, unless the configuration sets another number. Each sends several requests to its server
/// at the same time, so that more copies at once would only make all of them slower. The others wait.
pub const AT_ONCE: usize = 4;
/// How many turns each way has for itself.
const RESERVED: usize = 2;
/// How many more turns all ways share.
const SHARED: usize = 64;
/// How many ways can have copies that run at the same time.
const MOST_WAYS: usize = 256;

/// From which export to which export a copy goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Way {
    from: Option<NfsSource>,
    to: Option<NfsSource>,
}

impl Way {
    /// The way from the export at one place to the export at another one, or at the same.
    #[must_use]
    pub fn between(from: Option<NfsSource>, to: Option<NfsSource>) -> Self {
        Self { from, to }
    }
}

/// What a copy needs a turn for.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) way: Way,
    /// What is copied.
    pub(super) sources: Vec<String>,
}

/// The turns that are taken.
pub(super) struct Turns {
    at_once: usize,
    taken: HashMap<Way, Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    of_source: HashMap<String, usize>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { at_once: AT_ONCE, taken: HashMap::new() }
    }
}

impl Turns {
    /// Sets how many copies of one way can run at the same time. If there are fewer turns than before, running copies keep theirs.
    pub(super) fn set_at_once(&mut self, at_once: usize) {
        self.at_once = at_once;
    }

    /// Which of these copies, in the order of their arrival, runs next. A way with fewer running copies comes first.
    pub(super) fn next<'a>(&self, waiting: impl Iterator<Item = &'a Route>) -> Option<usize> {
        let shared_is_full = self.shared_is_full();
        let allowed = waiting.enumerate().filter(|(_, route)| self.is_free(route, shared_is_full));
        allowed.min_by_key(|(_, route)| self.running(&route.way)).map(|(number, _)| number)
    }

    pub(super) fn take(&mut self, route: &Route) {
        let taken = self.taken.entry(route.way.clone()).or_default();
        taken.all += 1;
        for source in &route.sources {
            *taken.of_source.entry(source.clone()).or_default() += 1;
        }
    }

    pub(super) fn give_back(&mut self, route: &Route) {
        let Some(taken) = self.taken.get_mut(&route.way) else { return };
        taken.all = taken.all.saturating_sub(1);
        for source in &route.sources {
            if let Some(count) = taken.of_source.get_mut(source) {
                *count -= 1;
                if *count == 0 {
                    taken.of_source.remove(source);
                }
            }
        }
        if taken.all == 0 {
            self.taken.remove(&route.way);
        }
    }

    fn is_free(&self, route: &Route, shared_is_full: bool) -> bool {
        let Some(taken) = self.taken.get(&route.way) else { return self.taken.len() < MOST_WAYS };
        // One large volume, of which many copies are made, leaves a turn to the others.
        let of_one = self.at_once.saturating_sub(1).max(1);
        let of_source = |source: &String| taken.of_source.get(source).copied().unwrap_or_default();
        taken.all < self.at_once
            && (taken.all < RESERVED || !shared_is_full)
            && route.sources.iter().all(|source| of_source(source) < of_one)
    }

    fn running(&self, way: &Way) -> usize {
        self.taken.get(way).map_or(0, |taken| taken.all)
    }

    fn shared_is_full(&self) -> bool {
        self.taken.values().map(|taken| taken.all.saturating_sub(RESERVED)).sum::<usize>() >= SHARED
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The way from one server to another one.
    pub(in crate::volume::jobs) fn way(from: &str, to: &str) -> Way {
        let place = |server: &str| Some(NfsSource { server: server.to_owned(), share: "/srv".to_owned() });
        Way::between(place(from), place(to))
    }

    fn route(from: &str, to: &str, source: &str) -> Route {
        Route { way: way(from, to), sources: vec![source.to_owned()] }
    }

    /// Takes turns until there is none.
    fn fill(turns: &mut Turns, from: &str, to: &str) -> usize {
        let routes = (0..).map(|number| route(from, to, &format!("v{number}")));
        routes.take_while(|route| takes(turns, route)).count()
    }

    /// Takes a turn if there is one for this copy.
    fn takes(turns: &mut Turns, route: &Route) -> bool {
        let is_free = turns.next([route].into_iter()).is_some();
        if is_free {
            turns.take(route);
        }
        is_free
    }

    #[test]
    fn copies_that_hang_cannot_take_the_last_turns_of_another_way() {
        let mut turns = Turns::default();
        let hanging: usize = (0..100).map(|number| fill(&mut turns, &format!("dead-{number}"), "nas")).sum();
        assert_eq!(hanging, SHARED + 100 * RESERVED, "all shared turns are taken");
        assert_eq!(fill(&mut turns, "nas", "nas"), RESERVED);
        turns.give_back(&route("dead-0", "nas", "v0"));
        assert!(takes(&mut turns, &route("nas", "nas", "v9")), "a free shared turn is for all");
    }

    #[test]
    fn the_way_with_the_fewest_copies_is_next_and_then_the_first_one_that_waits() {
        let mut turns = Turns::default();
        turns.take(&route("a", "a", "v0"));
        let waiting = [route("a", "a", "v1"), route("b", "b", "v2"), route("b", "b", "v3")];
        assert_eq!(turns.next(waiting.iter()), Some(1));
        turns.take(&waiting[1]);
        assert_eq!(turns.next(waiting.iter()), Some(0));
    }

    #[test]
    fn copies_of_one_volume_leave_a_turn_to_others() {
        let mut turns = Turns::default();
        let large = route("a", "a", "large");
        for _ in 0..AT_ONCE - 1 {
            assert!(takes(&mut turns, &large));
        }
        assert!(!takes(&mut turns, &large));
        assert!(takes(&mut turns, &route("a", "a", "other")));
        let mut turns = Turns::default();
        turns.set_at_once(1);
        assert!(takes(&mut turns, &large), "the only turn is for whoever comes first");
    }

    #[test]
    fn turns_are_bounded_in_number_and_forgotten_when_nobody_uses_them() {
        let mut turns = Turns::default();
        let routes = (0..MOST_WAYS).map(|number| route(&format!("s{number}"), "nas", "v"));
        let routes: Vec<Route> = routes.collect();
        assert!(routes.iter().all(|route| takes(&mut turns, route)));
        assert!(!takes(&mut turns, &route("one", "more", "v")));
        for route in &routes {
            turns.give_back(route);
        }
        assert!(turns.taken.is_empty());
    }
}
