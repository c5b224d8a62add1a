//! What a thread is doing while it may wait for a server, so that somebody else can say where it hangs.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

thread_local! {
    static CURRENT: RefCell<Option<Step>> = const { RefCell::new(None) };
}

type Name = Cow<'static, str>;

/// The step at which a piece of work is. A clone shows the same step to another thread. Work that asks no server has no step.
#[derive(Debug, Clone, Default)]
pub struct Step(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    now: Option<Now>,
    /// The longest of the steps that have ended.
    longest: Option<(Name, Duration)>,
}

#[derive(Debug)]
struct Now {
    name: Name,
    since: Instant,
    check: Option<&'static str>,
    /// Whose work this step waits for.
    behind: Option<Leader>,
}

/// Whoever does the work for which others wait, such as a mount.
#[derive(Debug, Clone, Default)]
pub struct Leader(Arc<Mutex<Step>>);

impl Leader {
    /// From now on, the work of this thread is what others wait for.
    pub fn lead(&self) {
        *self.0.lock() = Step::current();
    }

    /// What that work waits for. If it waits for others itself, they are not asked.
    #[must_use]
    pub fn wait(&self) -> Option<Wait> {
        let step = self.0.lock().clone();
        step.0.lock().wait()
    }
}

/// What work waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The step, such as `mount(2) of nas:/srv`.
    pub step: String,
    /// What to check if it takes long; `None`: the NFS server.
    pub check: Option<&'static str>,
}

impl Step {
    /// The step of the work that this thread does. If nobody observes that, nobody sees this step either.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.with_borrow(|current| current.clone().unwrap_or_default())
    }

    /// Does `work` in this thread. What it tells [`begin`] is the step.
    pub fn of<T>(self, work: impl FnOnce() -> T) -> T {
        let _reset = Reset(CURRENT.replace(Some(self)));
        work()
    }

    /// The step now, such as `mount(2) of nas:/srv`. `None` if no step has begun yet.
    #[must_use]
    pub fn now(&self) -> Option<String> {
        self.0.lock().now.as_ref().map(|now| now.name.clone().into_owned())
    }

    /// What the work waits for now. If it waits for the work of another thread, what that waits for. `None` if no step has begun yet.
    #[must_use]
    pub fn wait(&self) -> Option<Wait> {
        let behind = self.0.lock().now.as_ref()?.behind.clone();
        behind.and_then(|leader| leader.wait()).or_else(|| self.0.lock().wait())
    }

    /// Begins a step of work that has no thread yet.
    pub fn begin(&self, step: impl Into<Name>) {
        self.0.lock().change(Some(Now::new(step)));
    }

    /// Ends the step now.
    pub fn end(&self) {
        self.0.lock().change(None);
    }

    /// The step that has taken the longest so far, and how long.
    #[must_use]
    pub fn longest(&self) -> Option<(String, Duration)> {
        let state = self.0.lock();
        let now = state.now.as_ref().map(|now| (&now.name, now.since.elapsed()));
        let ended = state.longest.as_ref().map(|(name, time)| (name, *time));
        let longest = now.into_iter().chain(ended).max_by_key(|(_, time)| *time);
        longest.map(|(name, time)| (name.clone().into_owned(), time))
    }
}

impl Now {
    fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), since: Instant::now(), check: None, behind: None }
    }
}

impl State {
    fn wait(&self) -> Option<Wait> {
        self.now.as_ref().map(|now| Wait { step: now.name.clone().into_owned(), check: now.check })
    }

    fn change(&mut self, next: Option<Now>) {
        let ended = std::mem::replace(&mut self.now, next);
        let Some(Now { name, since, .. }) = ended else { return };
        let time = since.elapsed();
        if self.longest.as_ref().is_none_or(|(_, longest)| time > *longest) {
            self.longest = Some((name, time));
        }
    }
}

/// Puts the step before back, also after a panic: the runtime uses its threads again.
struct Reset(Option<Step>);

impl Drop for Reset {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Says what the work of this thread waits for from now on. Has no effect if nobody observes it.
pub fn begin(step: impl Into<Cow<'static, str>>) {
    change(|| Some(Now::new(step)));
}

/// As [`begin`], for a step that asks no NFS server. `check` says what to check if it takes long.
pub fn begin_elsewhere(step: impl Into<Cow<'static, str>>, check: &'static str) {
    change(|| Some(Now { check: Some(check), ..Now::new(step) }));
}

/// As [`begin`], for a wait until the work of another thread has ended.
pub fn begin_behind(step: impl Into<Cow<'static, str>>, leader: &Leader) {
    change(|| Some(Now { behind: Some(leader.clone()), ..Now::new(step) }));
}

fn change(next: impl FnOnce() -> Option<Now>) {
    CURRENT.with_borrow(|current| {
        if let Some(current) = current {
            current.0.lock().change(next());
        }
    });
}

/// As [`begin`], and returns what the step before is followed by again when it is dropped: for a wait in the middle of other work.
#[must_use]
pub fn pause(step: impl Into<Cow<'static, str>>) -> Paused {
    let before = Step::current().now();
    begin(step);
    Paused(before)
}

/// The step that goes on after another one.
pub struct Paused(Option<String>);

impl Drop for Paused {
    fn drop(&mut self) {
        let before = self.0.take();
        change(|| before.map(Now::new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_that_of_the_work_of_this_thread() {
        begin("nobody observes this");
        let (outer, inner) = (Step::default(), Step::default());
        outer.clone().of(|| {
            begin("first");
            inner.clone().of(|| begin("within"));
            assert_eq!(outer.now().as_deref(), Some("first"));
            begin(format!("the {}", "last"));
        });
        begin("nobody observes this either");
        assert_eq!(outer.now().as_deref(), Some("the last"));
        assert_eq!(inner.now().as_deref(), Some("within"));
        assert_eq!(Step::default().now(), None);
    }

    #[test]
    fn who_waits_for_another_one_tells_what_that_one_waits_for() {
        let (first, second, leader) = (Step::default(), Step::default(), Leader::default());
        let wait = |step: &str, check| Some(Wait { step: step.to_owned(), check });
        second.clone().of(|| begin_behind("the mount", &leader));
        assert_eq!(second.wait(), wait("the mount", None), "the other one has not begun");
        first.clone().of(|| {
            leader.lead();
            begin_elsewhere("a name", "the resolver");
        });
        assert_eq!(second.wait(), wait("a name", Some("the resolver")));
        first.begin("mount(2)");
        assert_eq!(second.wait(), wait("mount(2)", None));
        // Whoever waited leads now, and nobody follows a circle.
        second.clone().of(|| leader.lead());
        assert_eq!(second.wait(), wait("the mount", None));
        second.end();
        assert_eq!(second.wait(), None);
    }

    #[test]
    fn the_longest_step_is_known_while_it_runs_and_later() {
        let step = Step::default();
        assert_eq!(step.longest(), None);
        step.begin("a place");
        step.clone().of(|| {
            begin("short");
            {
                let _paused = pause("long");
                std::thread::sleep(Duration::from_millis(30));
                assert_eq!(step.longest().unwrap().0, "long");
            }
            assert_eq!(step.now().as_deref(), Some("short"));
        });
        step.end();
        let (name, time) = step.longest().unwrap();
        assert!(name == "long" && time >= Duration::from_millis(30), "{name} {time:?}");
        assert_eq!(step.now(), None);
    }
}
