//! The steps of a call, so that its line in the log says what a slow call has waited for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::linux::step::Step;

/// A call that takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);

tokio::task_local! {
    static OF_CALL: Steps;
}

/// The steps of all work of one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps(Arc<Mutex<Vec<Step>>>);

impl Steps {
    /// Does `work`, whose pieces begin with [`Steps::begin`].
    pub(super) async fn of<T>(self, work: impl Future<Output = T>) -> T {
        OF_CALL.scope(self, work).await
    }

    /// The steps of a new piece of work of the call that this task answers. A task of its own, which answers no call, has nobody who
    /// asks for them.
    pub(super) fn begin() -> Step {
        let step = Step::default();
        let _ = OF_CALL.try_with(|steps| steps.0.lock().push(step.clone()));
        step
    }

    /// What a call that has taken so long has waited for longest, if it was slow.
    pub(super) fn slow(&self, took: Duration) -> Option<String> {
        if took < SLOW {
            return None;
        }
        let steps = self.0.lock();
        let (step, time) = steps.iter().filter_map(Step::longest).max_by_key(|(_, time)| *time)?;
        Some(format!("{:.1} s waiting for {step}", time.as_secs_f64()))
    }
}
