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
    now: Option<(Name, Instant)>,
    /// The longest of the steps that have ended.
    longest: Option<(Name, Duration)>,
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
        self.0.lock().now.as_ref().map(|(name, _)| name.clone().into_owned())
    }

    /// Begins a step of work that has no thread yet.
    pub fn begin(&self, step: impl Into<Name>) {
        self.0.lock().change(Some(step.into()));
    }

    /// Ends the step now.
    pub fn end(&self) {
        self.0.lock().change(None);
    }

    /// The step that has taken the longest so far, and how long.
    #[must_use]
    pub fn longest(&self) -> Option<(String, Duration)> {
        let state = self.0.lock();
        let now = state.now.as_ref().map(|(name, since)| (name, since.elapsed()));
        let ended = state.longest.as_ref().map(|(name, time)| (name, *time));
        let longest = now.into_iter().chain(ended).max_by_key(|(_, time)| *time);
        longest.map(|(name, time)| (name.clone().into_owned(), time))
    }
}

impl State {
    fn change(&mut self, next: Option<Name>) {
        let ended = std::mem::replace(&mut self.now, next.map(|name| (name, Instant::now())));
        let Some((name, since)) = ended else { return };
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
    CURRENT.with_borrow(|current| {
        if let Some(current) = current {
            current.begin(step);
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
        let before = self.0.take().map(Cow::from);
        CURRENT.with_borrow(|current| {
            if let Some(current) = current {
                current.0.lock().change(before);
            }
        });
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
