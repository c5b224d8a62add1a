use super::*;
use crate::volume::jobs::turns::tests::way;
use std::sync::mpsc::channel;

const LONG: Duration = Duration::from_secs(30);

impl CopyJobs {
    /// Waits until nothing is under way.
    fn end(&self) {
        while !self.state().jobs.is_empty() {
            std::thread::yield_now();
        }
    }
}

/// The way within one export.
fn own() -> Way {
    way("a", "a")
}

fn from(source: &str) -> Vec<String> {
    vec![source.to_owned()]
}

#[test]
fn a_retry_joins_the_copy_and_gets_its_end() {
    let copies = Arc::new(CopyJobs::default());
    let (finish, finished) = channel::<()>();
    let first = copies.run("new", own(), &from("old"), Duration::ZERO, move |_| {
        finished.recv().unwrap();
        Ok(())
    });
    assert!(matches!(first, Err(Error::Busy(_))), "{first:?}");
    let retry = copies.run("new", own(), &from("old"), Duration::ZERO, |_| panic!("a second copy"));
    assert!(retry.unwrap_err().to_string().contains("ask again"));
    assert!(copies.refuse_while_source("old").is_err() && copies.refuse_while_source("new").is_ok());
    finish.send(()).unwrap();
    copies.end();
    assert!(copies.refuse_while_source("old").is_ok());
}

#[test]
fn a_failure_that_nobody_waited_for_is_told_to_the_next_and_the_one_after_begins_anew() {
    let copies = Arc::new(CopyJobs::default());
    let fail = |_: &Progress| Err(Error::Missing("something"));
    let _ = copies.run("new", own(), &from("old"), Duration::ZERO, fail);
    copies.end();
    let told = copies.check("new");
    assert!(matches!(told, Err(Error::Missing("something"))), "{told:?}");
    copies.check("new").unwrap();
    copies.run("new", own(), &from("old"), LONG, |_| Ok(())).unwrap();
    let panicked = copies.run("new", own(), &from("old"), LONG, |_| panic!("on purpose"));
    assert!(panicked.unwrap_err().to_string().contains("bug"));
}

#[test]
fn no_more_than_allowed_run_at_once_and_those_that_wait_have_no_thread() {
    let copies = Arc::new(CopyJobs::default());
    copies.set_limits(1, None);
    let (started, has_started) = channel::<()>();
    let until_cancelled = move |progress: &Progress| {
        started.send(()).unwrap();
        forever(progress)
    };
    let _ = copies.run("a", own(), &from("old"), Duration::ZERO, until_cancelled);
    has_started.recv().unwrap();
    let _ = copies.run("b", own(), &from("old"), Duration::ZERO, |_| panic!("it had no turn"));
    let waiting = copies.run("b", own(), &from("old"), Duration::ZERO, |_| Ok(())).unwrap_err().to_string();
    assert!(waiting.contains("waiting"), "{waiting}");
    assert_eq!(copies.state().waiting.len(), 1, "it is only an entry in a list");
    let totals = copies.totals();
    assert_eq!((totals.running, totals.waiting, totals.failed), (1, 1, 0));
    copies.run("c", way("b", "b"), &from("other"), LONG, |_| Ok(())).unwrap();
    copies.cancel("b").unwrap();
    assert!(!copies.is_running("b") && copies.check("b").is_ok(), "the next copy of this name begins anew");
    copies.cancel("a").unwrap();
    copies.run("b", own(), &from("old"), LONG, |_| Ok(())).unwrap();
    assert_eq!(copies.totals(), Totals { completed: 2, failed: 2, ..Totals::default() });
}

#[test]
fn a_caller_that_waits_for_a_copy_learns_that_it_was_cancelled() {
    let copies = Arc::new(CopyJobs::default());
    copies.set_limits(1, None);
    std::thread::scope(|scope| {
        let call = |key| copies.run(key, own(), &from("old"), LONG, forever);
        // One of them runs, and the other one waits for its turn.
        let callers = [scope.spawn(move || call("a")), scope.spawn(move || call("b"))];
        while copies.state().jobs.len() < 2 {
            std::thread::yield_now();
        }
        copies.cancel("a").unwrap();
        copies.cancel("b").unwrap();
        for caller in callers {
            let told = caller.join().unwrap();
            assert!(matches!(told, Err(Error::Cancelled)), "{told:?}");
        }
    });
}

#[test]
fn a_copy_that_takes_too_long_is_given_up_and_says_which_limit_it_was() {
    let copies = Arc::new(CopyJobs::default());
    copies.set_limits(1, Some(Duration::from_millis(50)));
    let error = copies.run("a", own(), &from("old"), LONG, forever).unwrap_err().to_string();
    assert!(error.contains("limits.copyTime"), "{error}");
    copies.set_limits(1, None);
    let _ = copies.run("b", own(), &from("old"), Duration::ZERO, forever);
    copies.set_limits(1, Some(Duration::from_millis(1)));
    let error = copies.run("b", own(), &from("old"), LONG, |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("limits.copyTime"), "a new limit is for copies that are running, too: {error}");
}

#[test]
fn copies_that_wait_are_bounded_in_number() {
    let copies = Arc::new(CopyJobs::default());
    copies.set_limits(1, None);
    let ask = |number: usize| {
        copies.run(&format!("{number}"), own(), &from("old"), Duration::ZERO, forever).unwrap_err()
    };
    for number in 0..=MOST_WAITING {
        assert!(!ask(number).to_string().contains("already"));
    }
    let refused = ask(MOST_WAITING + 1).to_string();
    assert!(refused.contains("wait already; ask again"), "{refused}");
    for number in (0..=MOST_WAITING).rev() {
        copies.cancel(&format!("{number}")).unwrap();
    }
}

fn forever(progress: &Progress) -> Result<()> {
    while !progress.is_cancelled() {
        std::thread::yield_now();
    }
    Err(Error::Cancelled)
}
