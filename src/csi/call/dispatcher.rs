//! The dispatcher between gRPC and the domain. Every call goes through it. It gives the call a deadline, the guard of what it works on, a
//! place among the calls to the same export, a thread, and one line in the log.

use std::fmt::Debug;
use std::time::Duration;

use tonic::{Request, Response, Status};
use tracing::Span;

use super::deadline::Deadline;
use super::guard::Guards;
use super::lane::Lane;
use super::line::{LogLine, shorten};
use super::places::Places;
use super::steps::Steps;
use super::tally::Tally;
use super::turns::Turns;
use super::work::Work;
use crate::csi::status::CallError;
use crate::linux::step::{Step, Wait};
use crate::volume;

/// Shared by all services of a process.
#[derive(Clone)]
pub struct Dispatcher {
    guards: Guards,
    places: Places,
    looks: Turns,
    tally: Tally,
    timeout: Duration,
}

impl Dispatcher {
    /// A call is answered within `timeout` from its arrival.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let (guards, places, looks) = (Guards::default(), Places::default(), Turns::default());
        Self { guards, places, looks, tally: Tally::default(), timeout }
    }

    /// The places of this process.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What is counted of the calls of this process.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whose turn it is to look at an export.
    pub(super) fn looks(&self) -> &Turns {
        &self.looks
    }

    /// Answers one call: `plan` reads the request, and the work that it returns is done on a thread that may block.
    /// `subject` is the volume or snapshot that the log names; it may be empty.
    ///
    /// When the caller goes away, or when the deadline passes, work that has begun goes on and keeps its guard and its
    /// place. So a retry never runs beside it. Work that still waits for its place is given up.
    pub async fn call<Q: Debug, T: Send + 'static>(
        &self,
        rpc: &'static str,
        request: Request<Q>,
        subject: impl FnOnce(&Q) -> &str,
        plan: impl FnOnce(Q) -> volume::error::Result<Work<T>>,
    ) -> Result<Response<T>, Status> {
        self.answer(rpc, request, subject, async |request, deadline, span| {
            let work = span.in_scope(|| plan(request))?;
            self.run(work, deadline, span).await
        })
        .await
    }

    /// Answers one call with what `work` returns, and writes its line in the log.
    pub async fn answer<Q: Debug, T>(
        &self,
        rpc: &'static str,
        request: Request<Q>,
        subject: impl FnOnce(&Q) -> &str,
        work: impl AsyncFnOnce(Q, Deadline, Span) -> Result<T, CallError>,
    ) -> Result<Response<T>, Status> {
        let deadline = Deadline::of(request.metadata(), self.timeout);
        let request = request.into_inner();
        let subject = shorten(subject(&request));
        let span = tracing::info_span!("call", rpc, volume = subject);
        span.in_scope(|| tracing::debug!(?request, "request"));
        self.tally.begin(rpc);
        let (tally, steps) = (self.tally.clone(), Steps::default());
        let mut line = LogLine::begin(rpc, subject, tally, steps.clone());
        let answer = steps.of(work(request, deadline, span)).await.map_err(|error| {
            let status = Status::from(error);
            line.fails(&status);
            status
        })?;
        line.succeeds();
        Ok(Response::new(answer))
    }

    /// Does the work of a call, as [`Self::call`] describes it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: Work<T>,
        deadline: Deadline,
        span: Span,
    ) -> Result<T, CallError> {
        let Work { guard, lane, work } = work;
        let held = self.guards.take(guard).map_err(CallError::InFlight)?;
        let step = Steps::begin();
        step.begin(format!("a place among the {lane}"));
        let mut place = self.places.enter(&lane, deadline).await?;
        step.end();
        let own = step.clone();
        let running = blocking(move || {
            let _held = held;
            let result = span.in_scope(|| own.clone().of(|| work(deadline)));
            let has_asked = own.now().is_some();
            own.end();
            match result.as_ref().err().filter(|error| error.is_unreachable()) {
                Some(error) => place.unreachable(&error.to_string()),
                None if has_asked => place.answered(),
                // The work has asked no server, so it says nothing about one.
                None => {}
            }
            result
        });
        match tokio::time::timeout(deadline.left(), running).await {
            Err(_) => Err(self.slow(&lane, deadline, &step)),
            Ok(None) => Err(CallError::Panicked),
            Ok(Some(result)) => Ok(result?),
        }
    }

    fn slow(&self, lane: &Lane, deadline: Deadline, step: &Step) -> CallError {
        let export = match lane {
            Lane::Export(source) | Lane::Copies(source) => Some(source.to_string()),
            // The step names the export, if the call has come that far.
            Lane::Lists => Some("one of the exports that are listed".to_owned()),
            Lane::Unpublish | Lane::Local => None,
        };
        CallError::Slow {
            waited: deadline.waited(),
            wait: step.wait().unwrap_or_else(|| Wait { step: "its turn".to_owned(), check: None }),
            export,
            unanswered: self.places.unanswered(lane).unwrap_or_default(),
        }
    }
}

/// Answers a call that only returns what is known. Orchestrators send these calls all day long, so their line in the log
/// has the level debug.
pub fn respond<T>(rpc: &'static str, answer: T) -> Result<Response<T>, Status> {
    tracing::debug!(rpc, code = "OK");
    Ok(Response::new(answer))
}

/// Runs `work` on a thread that may block. `None` if it panicked. Whatever runs here must have a place
/// ([`super::lane::THREADS`]).
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "the only place that starts blocking threads")]
    let handle = tokio::task::spawn_blocking(work);
    handle.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::call::guard::Guard;
    use crate::linux::NfsSource;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    fn export(server: &str) -> Lane {
        Lane::Export(NfsSource { server: server.to_owned(), share: "/srv".to_owned() })
    }

    async fn call(
        dispatcher: &Dispatcher,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Response<()>, Status> {
        call_with(dispatcher, Guard::Volume("v".to_owned()), export("nas"), work).await
    }

    async fn call_with(
        dispatcher: &Dispatcher,
        guard: Guard,
        lane: Lane,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Response<()>, Status> {
        let work = Work::new(guard, lane, move |_| {
            work();
            Ok(())
        });
        dispatcher.call("Test", Request::new(()), |()| "v", |()| Ok(work)).await
    }

    #[tokio::test]
    async fn work_that_takes_too_long_keeps_its_volume() {
        let dispatcher = Dispatcher::new(Duration::from_millis(550));
        let (finish, finished) = channel::<()>();
        let slow = call(&dispatcher, move || finished.recv().unwrap()).await.unwrap_err();
        assert_eq!(slow.code(), tonic::Code::DeadlineExceeded);
        assert!(slow.message().contains("nas:/srv"), "{}", slow.message());
        let retry = call(&dispatcher, || ()).await.unwrap_err();
        assert_eq!(retry.code(), tonic::Code::Aborted);
        assert!(retry.message().contains("has been running for"), "{}", retry.message());
        finish.send(()).unwrap();
        while call(&dispatcher, || ()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn the_message_of_a_slow_call_names_its_step() {
        let dispatcher = Dispatcher::new(Duration::from_millis(550));
        let (finish, finished) = channel::<()>();
        let slow = call(&dispatcher, move || {
            crate::linux::step::begin("mount(2) of nas:/srv");
            finished.recv().unwrap();
        });
        let message = slow.await.unwrap_err().message().to_owned();
        assert!(message.contains("mount(2) of nas:/srv"), "{message}");
        finish.send(()).unwrap();
    }

    #[tokio::test]
    async fn the_message_of_a_slow_list_says_what_to_check() {
        let dispatcher = Dispatcher::new(Duration::from_millis(550));
        let (finish, finished) = channel::<()>();
        let slow = call_with(&dispatcher, Guard::None, Lane::Lists, move || {
            crate::linux::step::begin("a request to nas:/srv");
            finished.recv().unwrap();
        });
        let message = slow.await.unwrap_err().message().to_owned();
        assert!(message.contains("a request to nas:/srv"), "{message}");
        assert!(message.contains("does the NFS server run"), "{message}");
        finish.send(()).unwrap();
    }

    #[tokio::test]
    async fn only_an_answer_of_the_server_ends_the_silence_of_an_export() {
        let dispatcher = Dispatcher::new(Duration::from_mins(1));
        let silent = || dispatcher.places().silent_exports().len();
        let refused = crate::linux::MountError::Unreachable {
            export: NfsSource { server: "nas".to_owned(), share: "/srv".to_owned() },
            port: 2049,
            tried: Vec::new(),
        };
        let fails = Work::<()>::new(Guard::None, export("nas"), move |_| Err(refused.into()));
        dispatcher.call("Test", Request::new(()), |()| "v", |()| Ok(fails)).await.unwrap_err();
        assert_eq!(silent(), 1);
        call(&dispatcher, || ()).await.unwrap();
        assert_eq!(silent(), 1, "the call has asked no server");
        call(&dispatcher, || crate::linux::step::begin("a request to nas:/srv")).await.unwrap();
        assert_eq!(silent(), 0);
    }

    #[tokio::test]
    async fn waiting_for_a_place_counts_towards_the_deadline() {
        let dispatcher = Dispatcher::new(Duration::from_millis(800));
        dispatcher.places().set_width(1);
        let (finish, finished) = channel::<()>();
        let first = call_with(&dispatcher, Guard::None, export("nas"), move || finished.recv().unwrap());
        let second = async {
            let begun = Instant::now();
            let status = call_with(&dispatcher, Guard::None, export("nas"), || ()).await.unwrap_err();
            (status, begun.elapsed())
        };
        let (first, (second, waited)) = tokio::join!(first, second);
        assert_eq!(first.unwrap_err().code(), tonic::Code::DeadlineExceeded);
        assert_eq!(second.code(), tonic::Code::Aborted);
        assert!(second.message().contains("calls to nas:/srv"), "{}", second.message());
        assert!(waited < Duration::from_millis(800), "{waited:?}");
        finish.send(()).unwrap();
    }

    /// A log that a test reads.
    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_line_of_a_slow_call_says_what_it_has_waited_for() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        let _default = tracing::subscriber::set_default(subscriber.finish());
        let lines = || {
            let text = String::from_utf8(std::mem::take(&mut *log.0.lock())).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let dispatcher = Dispatcher::new(Duration::from_secs(10));
        dispatcher.places().set_width(1);
        let in_lane = |work: fn()| call_with(&dispatcher, Guard::None, export("nas"), work);
        in_lane(|| ()).await.unwrap();
        let [quick] = &lines()[..] else { panic!("one line a call") };
        assert!(quick.contains("ms=") && !quick.contains("slow"), "{quick}");
        let works = in_lane(|| {
            crate::linux::step::begin("mount(2) of nas:/srv");
            std::thread::sleep(Duration::from_millis(1100));
        });
        let (first, second) = tokio::join!(works, in_lane(|| ()));
        first.and(second).unwrap();
        let mut lines = lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let mount = "s waiting for mount(2) of nas:/srv\"";
        let place = "s waiting for a place among the calls to nas:/srv\"";
        // Both calls end at the same moment, so either line may come first.
        lines.sort_by_key(|line| line.contains(place));
        assert!(lines[0].contains(mount), "{lines:?}");
        assert!(lines[1].contains(place), "{lines:?}");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_does_not_free_the_volume() {
        let dispatcher = Dispatcher::new(Duration::from_mins(1));
        let (finish, finished) = channel::<()>();
        let abandoned = call(&dispatcher, move || finished.recv().unwrap());
        assert!(tokio::time::timeout(Duration::from_millis(50), abandoned).await.is_err());
        assert_eq!(call(&dispatcher, || ()).await.unwrap_err().code(), tonic::Code::Aborted);
        finish.send(()).unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_frees_the_volume() {
        let dispatcher = Dispatcher::new(Duration::from_mins(1));
        let status = call(&dispatcher, || panic!("on purpose")).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Internal);
        call(&dispatcher, || ()).await.unwrap();
    }
}
