//! The dispatcher between gRPC and the domain. Every call crosses it, and here alone are: the guard of its volume, its
//! place in its export's lane, the blocking thread, the time limit, and its line in the log.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use tonic::{Request, Response, Status};
use tracing::Span;

use super::guard::Guards;
use super::lane::Lanes;
use super::status::CallError;
use crate::volume;

/// What a call does after its request has been understood.
pub struct Work<T> {
    /// What it works on: a second call with the same text is refused while this one runs.
    pub guard: String,
    /// Whose server it may have to wait for.
    pub lane: String,
    /// The work. It may block.
    pub work: Box<dyn FnOnce() -> volume::error::Result<T> + Send>,
}

impl<T> Work<T> {
    /// A job from its parts.
    pub fn new(
        guard: impl Into<String>,
        lane: impl Into<String>,
        work: impl FnOnce() -> volume::error::Result<T> + Send + 'static,
    ) -> Self {
        Self { guard: guard.into(), lane: lane.into(), work: Box::new(work) }
    }
}

/// Shared by all services of a process.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    guards: Guards,
    lanes: Lanes,
    timeout: Duration,
}

impl Dispatcher {
    /// No call is kept waiting longer than `timeout` for a place and then for its work.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { guards: Guards::default(), lanes: Lanes::default(), timeout }
    }

    /// How long a call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Lets this many calls wait for one export at once.
    pub fn set_calls_per_export(&self, calls: usize) {
        self.lanes.set_width(calls);
    }

    /// Answers one call: `plan` reads the request, and the job it gives is done on a blocking thread. `volume` is
    /// what the log calls the volume.
    ///
    /// When the caller goes away, or when timeout ends, the work goes on and keeps its guard and its place. So a
    /// retry can never run beside it.
    pub async fn call<Q: Debug, T: Send + 'static>(
        &self,
        rpc: &'static str,
        volume: &str,
        request: Request<Q>,
        plan: impl FnOnce(Q) -> volume::error::Result<Work<T>>,
    ) -> Result<Response<T>, Status> {
        let mut line =
            LogLine { rpc, volume: volume.to_owned(), begun: Instant::now(), outcome: Outcome::Abandoned };
        let span = tracing::info_span!("call", rpc, volume);
        let request = request.into_inner();
        span.in_scope(|| tracing::debug!(?request, "request"));
        let outcome = match span.in_scope(|| plan(request)) {
            Ok(job) => self.run(job, span).await,
            Err(error) => Err(error.into()),
        };
        line.outcome = match &outcome {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.code(), error.to_string()),
        };
        drop(line);
        Ok(Response::new(outcome?))
    }

    async fn run<T: Send + 'static>(&self, job: Work<T>, span: Span) -> Result<T, CallError> {
        let guard = self.guards.take(job.guard).map_err(CallError::InFlight)?;
        let place = self.lanes.enter(&job.lane, self.timeout).await;
        let place = place.ok_or(CallError::Crowded(self.lanes.width(), job.lane))?;
        let work = job.work;
        let running = blocking(move || {
            let _held = (guard, place);
            span.in_scope(work)
        });
        match tokio::time::timeout(self.timeout, running).await {
            Err(_) => Err(CallError::Slow(self.timeout)),
            Ok(None) => Err(CallError::Panicked),
            Ok(Some(result)) => Ok(result?),
        }
    }
}

/// Answers a call that does nothing but respond what is known. Orchestrators ask these all day long, so their line is in
/// the log at level debug.
pub fn respond<T>(rpc: &'static str, answer: T) -> Result<Response<T>, Status> {
    tracing::debug!(rpc, code = "OK");
    Ok(Response::new(answer))
}

/// Runs `work` on a thread that may block. `None` if it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    let handle = tokio::task::spawn_blocking(work);
    handle.await.ok()
}

/// Writes the call's one line when it is dropped, so also when the caller goes away in the middle.
struct LogLine {
    rpc: &'static str,
    volume: String,
    begun: Instant,
    outcome: Outcome,
}

enum Outcome {
    /// Nobody waits for the answer any more.
    Abandoned,
    Done,
    Failed(tonic::Code, String),
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let Self { rpc, volume, begun, outcome } = self;
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        let ms = (ms * 100.0).round() / 100.0;
        match outcome {
            Outcome::Done => tracing::info!(rpc, volume, ms, code = "OK"),
            Outcome::Failed(code, error) => tracing::warn!(rpc, volume, ms, code = ?code, error),
            Outcome::Abandoned => {
                tracing::warn!(rpc, volume, ms, code = "Cancelled", "the caller went away; the work goes on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn dispatcher(timeout: Duration) -> Dispatcher {
        Dispatcher::new(timeout)
    }

    async fn call(
        dispatcher: &Dispatcher,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Response<()>, Status> {
        let plan = |()| {
            Ok(Work::new("v", "export", move || {
                work();
                Ok(())
            }))
        };
        dispatcher.call("Test", "v", Request::new(()), plan).await
    }

    #[tokio::test]
    async fn work_that_outlives_patience_keeps_its_volume() {
        let dispatcher = dispatcher(Duration::from_millis(50));
        let (finish, finished) = channel::<()>();
        let slow = call(&dispatcher, move || finished.recv().unwrap()).await.unwrap_err();
        assert_eq!(slow.code(), tonic::Code::DeadlineExceeded);
        let retry = call(&dispatcher, || ()).await.unwrap_err();
        assert_eq!(retry.code(), tonic::Code::Aborted);
        assert!(retry.message().contains("has been running for"), "{}", retry.message());
        finish.send(()).unwrap();
        while call(&dispatcher, || ()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_does_not_free_the_volume() {
        let dispatcher = dispatcher(Duration::from_mins(1));
        let (finish, finished) = channel::<()>();
        let abandoned = call(&dispatcher, move || finished.recv().unwrap());
        assert!(tokio::time::timeout(Duration::from_millis(50), abandoned).await.is_err());
        assert_eq!(call(&dispatcher, || ()).await.unwrap_err().code(), tonic::Code::Aborted);
        finish.send(()).unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_frees_the_volume() {
        let dispatcher = dispatcher(Duration::from_mins(1));
        let status = call(&dispatcher, || panic!("on purpose")).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Internal);
        call(&dispatcher, || ()).await.unwrap();
    }
}
