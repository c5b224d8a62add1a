//! A look at the health of an export. It is answered soon, whatever the server does.

use std::sync::Arc;
use std::time::Duration;

use tracing::Span;

use super::deadline::Deadline;
use super::dispatcher::Dispatcher;
use super::guard::Guard;
use super::lane::Lane;
use super::work::Work;
use crate::csi::status::CallError;
use crate::linux::step::Wait;
use crate::volume::error::Result;
use crate::volume::share::health::Finding;

/// How long a look may take. A server that has not answered by then is silent. It is longer than a server is given to answer the
/// question before a mount, so that the answer can say which address was asked.
const LONGEST: Duration = Duration::from_secs(8);

/// What a look has found.
#[derive(Debug)]
pub enum Look<T> {
    /// The server has answered.
    Seen(T),
    /// The server was not asked, or has not answered in time.
    Silent(Finding),
}

impl Look<Vec<Finding>> {
    /// What is wrong: that the server is silent, or what was seen.
    #[must_use]
    pub fn findings(self) -> Vec<Finding> {
        match self {
            Self::Seen(found) => found,
            Self::Silent(finding) => vec![finding],
        }
    }
}

impl Dispatcher {
    /// Looks at something on the export of a lane, for at most [`LONGEST`], or until the deadline if that is earlier.
    pub async fn look<T: Send + 'static>(
        &self,
        lane: &Lane,
        deadline: Deadline,
        span: &Span,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<Look<T>, CallError> {
        let deadline = deadline.within(LONGEST);
        let Lane::Export(export) = lane else {
            let work = Work::new(Guard::None, lane.clone(), move |_| work());
            return self.run(work, deadline, span.clone()).await.map(Look::Seen);
        };
        let silent = |wait: Option<&Wait>| {
            let elsewhere = wait.and_then(|wait| Some((wait, wait.check?)));
            let finding = if let Some((wait, check)) = elsewhere {
                Finding::not_asked(export, deadline.waited(), wait, check)
            } else {
                let unanswered = self.places().unanswered(lane).unwrap_or_default();
                Finding::silent(export, unanswered.max(deadline.waited()))
            };
            Ok(Look::Silent(finding))
        };
        let turn = self.looks().of(export);
        let own = Arc::clone(&turn.lock).lock_owned();
        let Ok(held) = tokio::time::timeout(deadline.left(), own).await else {
            return silent(turn.looks.wait().as_ref());
        };
        let work = Work::new(Guard::None, lane.clone(), move |_| {
            // The turn ends with the work, whoever waits for it.
            let (_held, turn) = (held, turn);
            turn.looks.lead();
            work()
        });
        match self.run(work, deadline, span.clone()).await {
            Ok(seen) => Ok(Look::Seen(seen)),
            Err(CallError::Slow { wait, .. }) => silent(Some(&wait)),
            Err(CallError::Crowded { .. }) => silent(None),
            Err(error) => Err(error),
        }
    }
}
