//! Work that may block for longer than anybody can wait: it gets a thread of its own, and its caller a limit.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::step::Step;

/// Does `work` in a thread of its own and waits for it, but not longer than `limit`. `None`: it has not ended by then, or it could
/// not be begun. It goes on, and what it returns in the end is given to `late`.
///
/// The steps of the work are those of the caller.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
    late: impl FnOnce(T) + Send + 'static,
) -> Option<T> {
    // Locked while one of the two ends decides: either the caller takes the result, or `late` does.
    let given_up = Arc::new(Mutex::new(false));
    let (sender, receiver) = channel();
    let (own_given_up, step) = (Arc::clone(&given_up), Step::current());
    let run = move || {
        let result = step.of(work);
        let given_up = own_given_up.lock();
        if *given_up {
            late(result);
        } else {
            // The caller has not given up, so it still receives.
            let _ = sender.send(result);
        }
    };
    std::thread::Builder::new().name("bounded".to_owned()).spawn(run).ok()?;
    receiver.recv_timeout(limit).ok().or_else(|| {
        let mut given_up = given_up.lock();
        // It may have ended just now.
        let result = receiver.try_recv().ok();
        *given_up = result.is_none();
        result
    })
}

/// Asks the `candidates` in their order until one answers. If one has not answered after `patience`, the next one is asked too, while
/// the earlier ones may still answer. Returns the first answer, with the number of the candidate; or all failures, in the order of the
/// candidates. Each question must be bounded by itself.
pub(super) fn first_answer<C, T, E>(
    candidates: Vec<C>,
    patience: Duration,
    ask: impl Fn(C) -> Result<T, E> + Clone + Send + 'static,
) -> Result<(usize, T), Vec<E>>
where
    C: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let (sender, receiver) = channel();
    let mut failures: Vec<(usize, E)> = Vec::new();
    let count = candidates.len();
    for (number, candidate) in candidates.into_iter().enumerate() {
        let (ask, sender, step) = (ask.clone(), sender.clone(), Step::current());
        let run = move || {
            let answer = step.of(|| ask(candidate));
            // Nobody receives it if another one was faster.
            let _ = sender.send((number, answer));
        };
        if std::thread::Builder::new().name("ask".to_owned()).spawn(run).is_err() {
            continue;
        }
        let limit = Instant::now() + patience;
        if let Some(answer) = next_answer(&receiver, Some(limit), number + 1, &mut failures) {
            return Ok(answer);
        }
    }
    drop(sender);
    next_answer(&receiver, None, count, &mut failures).ok_or_else(|| {
        failures.sort_by_key(|(number, _)| *number);
        failures.into_iter().map(|(_, failure)| failure).collect()
    })
}

/// Waits for an answer until `limit`, or until as many as were `asked` have failed.
fn next_answer<T, E>(
    receiver: &Receiver<(usize, Result<T, E>)>,
    limit: Option<Instant>,
    asked: usize,
    failures: &mut Vec<(usize, E)>,
) -> Option<(usize, T)> {
    while failures.len() < asked {
        let next = match limit {
            Some(limit) => receiver.recv_timeout(limit.saturating_duration_since(Instant::now())),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next.ok()? {
            (number, Ok(answer)) => return Some((number, answer)),
            (number, Err(failure)) => failures.push((number, failure)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn what_ends_in_time_is_returned_and_what_ends_late_is_given_to_the_other() {
        assert_eq!(within(LONG, || 1, |_| panic!("it was in time")), Some(1));
        let (late, is_late) = channel();
        let (finish, finished) = channel::<()>();
        let work = move || {
            finished.recv().unwrap();
            2
        };
        assert_eq!(within(MOMENT, work, move |result| late.send(result).unwrap()), None);
        finish.send(()).unwrap();
        assert_eq!(is_late.recv(), Ok(2));
    }

    #[test]
    fn a_silent_first_candidate_costs_a_moment_and_the_first_answer_counts() {
        let begun = Instant::now();
        let ask = |number: u64| {
            std::thread::sleep(Duration::from_millis(number));
            if number == 0 { Err("refused") } else { Ok(number) }
        };
        assert_eq!(first_answer(vec![20_000, 1, 5], MOMENT, ask), Ok((1, 1)));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(
            first_answer(vec![0, 0, 3], LONG, ask),
            Ok((2, 3)),
            "a failure does not wait for the moment"
        );
        assert_eq!(first_answer(vec![0, 0], LONG, ask), Err(vec!["refused", "refused"]));
        assert_eq!(first_answer(Vec::new(), LONG, ask), Err(Vec::new()));
    }
}
