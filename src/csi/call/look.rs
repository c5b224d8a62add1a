//! A look at the health of an export. It is answered soon, whatever the server does.

use std::time::Duration;

use tracing::Span;

use super::deadline::Deadline;
use super::dispatcher::Dispatcher;
use super::guard::Guard;
use super::lane::Lane;
use super::work::Work;
use crate::csi::status::CallError;
use crate::linux::NfsSource;
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
    /// The server of this export has let calls wait for so long.
    Silent(NfsSource, Duration),
}

impl Look<Vec<Finding>> {
    /// What is wrong: that the server is silent, or what was seen.
    #[must_use]
    pub fn findings(self) -> Vec<Finding> {
        match self {
            Self::Seen(found) => found,
            Self::Silent(export, since) => vec![Finding::silent(&export, since)],
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
        let waited = || self.places().unanswered(lane).unwrap_or_default().max(deadline.waited());
        let silent = || Ok(Look::Silent(export.clone(), waited()));
        let turn = self.looks().of(export);
        let Ok(turn) = tokio::time::timeout(deadline.left(), turn.lock_owned()).await else {
            return silent();
        };
        let work = Work::new(Guard::None, lane.clone(), move |_| {
            let _turn = turn;
            work()
        });
        match self.run(work, deadline, span.clone()).await {
            Ok(seen) => Ok(Look::Seen(seen)),
            Err(CallError::Slow { .. } | CallError::Crowded { .. }) => silent(),
            Err(error) => Err(error),
        }
    }
}
