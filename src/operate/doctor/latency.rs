//! The clock of the server, and how long common operations take.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::line::{Line, begin, report};
use super::scratch::{Scratch, new_file};
use crate::linux::{Dir, SysError};

const LIMIT: Duration = Duration::from_secs(20);
/// How often each operation is measured, unless that takes longer than [`PATIENCE`].
const TIMES: usize = 50;
const PATIENCE: Duration = Duration::from_secs(8);
/// An operation is slow if half of all take longer, in milliseconds.
const SLOW: f64 = 100.0;
/// The clocks differ if they do by more than this, in seconds.
const DIFFERENT: f64 = 2.0;

pub(super) fn examine(scratch: &Scratch) {
    begin("clock", LIMIT);
    report(clock(&scratch.dir));
    begin("latency", LIMIT);
    match measure(&scratch.dir) {
        Ok(measured) => measured.into_iter().for_each(|(what, times)| report(judge_latency(what, &times))),
        Err(error) => report(Line::unexpected("latency", &error)),
    }
}

fn clock(dir: &Dir) -> Line {
    const CHECK: &str = "clock";
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let before = now();
    let made = new_file(dir, "now", CHECK);
    let after = now();
    match made {
        Ok(file) => {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds are enough")]
            let server = file.ctime.seconds as f64 + f64::from(file.ctime.nanoseconds) / 1e9;
            judge_clock(before, after, server)
        }
        Err(line) => line,
    }
}

/// `before` and `after` are times of this node, and in between the server has set its own.
fn judge_clock(before: f64, after: f64, server: f64) -> Line {
    const CHECK: &str = "clock";
    let ahead = if server < before { server - before } else { (server - after).max(0.0) };
    if ahead.abs() <= DIFFERENT {
        return Line::ok(CHECK, "the clocks of server and node agree");
    }
    let (by, is) = (ahead.abs(), if ahead > 0.0 { "ahead of" } else { "behind" });
    Line::warn(
        CHECK,
        format!("the clock of the server is {by:.1} s {is} that of this node"),
        "synchronise both (chrony): programs that compare times of files, such as make, are misled, and so are ages in lists",
    )
}

/// The times of each operation, in milliseconds, sorted.
fn measure(dir: &Dir) -> Result<Vec<(&'static str, Vec<f64>)>, SysError> {
    const CONTENT: [u8; 4096] = [2; 4096];
    type Operation<'a> = &'a dyn Fn(&Dir, &str) -> Result<(), SysError>;
    let operations: [(&str, Operation); 6] = [
        ("make a directory", &|dir, name| dir.make_dir(format!("{name}.d"), 0o700)),
        ("write 4 KiB and sync", &|dir, name| dir.create_file(name, &CONTENT)),
        ("get attributes", &|dir, _| dir.fresh().map(drop)),
        ("rename a file", &|dir, name| dir.rename(name, dir, format!("{name}.new"))),
        ("remove a file", &|dir, name| dir.remove_file(format!("{name}.new"))),
        ("remove a directory", &|dir, name| dir.remove_dir(format!("{name}.d"))),
    ];
    let mut measured: Vec<(&str, Vec<f64>)> =
        operations.iter().map(|(what, _)| (*what, Vec::new())).collect();
    let begun = Instant::now();
    for number in 0..TIMES {
        let name = format!("measured-{number}");
        for ((_, operation), (_, times)) in operations.iter().zip(&mut measured) {
            let begun = Instant::now();
            operation(dir, &name)?;
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    for (_, times) in &mut measured {
        times.sort_by(f64::total_cmp);
    }
    Ok(measured)
}

fn judge_latency(what: &str, times: &[f64]) -> Line {
    const CHECK: &str = "latency";
    let milliseconds = [50, 90, 99].map(|percent| percentile(times, percent));
    let [half, most, nearly_all] = milliseconds;
    let found = format!(
        "{what}: 50% within {half:.1} ms, 90% within {most:.1} ms, 99% within {nearly_all:.1} ms ({} times)",
        times.len()
    );
    let line = if half > SLOW {
        let advice = "look at the network between node and server (`ping`), at the load and the disks of the server, and for the export option \
                      `sync` on slow disks";
        Line::warn(CHECK, found, advice)
    } else {
        Line::ok(CHECK, found)
    };
    Line { milliseconds: Some(milliseconds.map(|time| (time * 1000.0).round() / 1000.0)), ..line }
}

/// The time within which so many of a hundred are, by the nearest rank.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::doctor::line::State;

    #[test]
    fn the_clock_of_the_server_may_be_anywhere_between_both_looks() {
        for (server, state) in [(99.0, State::Ok), (105.0, State::Ok), (111.0, State::Ok)] {
            assert_eq!(judge_clock(100.0, 110.0, server).state, state, "{server}");
        }
        let line = judge_clock(100.0, 110.0, 80.0);
        assert!(line.state == State::Warn && line.found.contains("20.0 s behind"), "{line}");
        assert!(judge_clock(100.0, 110.0, 115.0).found.contains("5.0 s ahead of"));
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let times: Vec<f64> = (1..=100).map(f64::from).collect();
        let of = |sorted: &[f64]| [50, 90, 99].map(|percent| format!("{:.0}", percentile(sorted, percent)));
        assert_eq!(of(&times), ["50", "90", "99"]);
        assert_eq!(of(&[3.0]), ["3", "3", "3"]);
        assert_eq!(of(&[]), ["0", "0", "0"]);
        assert_eq!(judge_latency("x", &[1.0, 160.0, 170.0]).state, State::Warn);
        assert_eq!(judge_latency("x", &[1.0, 2.0, 700.0]).state, State::Ok);
    }
}
