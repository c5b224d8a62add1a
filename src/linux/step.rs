//! What a thread is doing while it may wait for a server, so that somebody else can say where it hangs.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::Mutex;

thread_local! {
    static CURRENT: RefCell<Option<Step>> = const { RefCell::new(None) };
}

/// The step at which a piece of work is. A clone shows the same step to another thread. Work that asks no server has no step.
#[derive(Debug, Clone, Default)]
pub struct Step(Arc<Mutex<Option<Cow<'static, str>>>>);

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
        self.0.lock().clone().map(Cow::into_owned)
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
            *current.0.lock() = Some(step.into());
        }
    });
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
}
