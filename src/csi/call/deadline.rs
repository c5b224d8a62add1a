//! When the caller of a call must have an answer.

use std::time::{Duration, Instant};

use tonic::metadata::MetadataMap;

/// A call is answered at least this long before its caller gives up, so that the caller receives the answer.
const TO_SEND: Duration = Duration::from_millis(100);
/// Work that waits for a copy stops waiting this long before its caller gives up. It can then still answer how far the copy
/// is, before the deadline passes.
const TO_REPORT: Duration = Duration::from_millis(500);

/// The moment by which a call is answered. There is one for each call, fixed when the call arrives: waiting for a place
/// counts as much as the work.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    arrived: Instant,
    /// How long the caller waits.
    timeout: Duration,
}

impl Deadline {
    /// The deadline of a call that arrives now: shortly before the caller gives up (header `grpc-timeout` of gRPC over
    /// HTTP/2), and at most `most` from now.
    #[must_use]
    pub fn of(metadata: &MetadataMap, most: Duration) -> Self {
        Self { arrived: Instant::now(), timeout: timeout(metadata, most) }
    }

    /// The deadline of work that begins now and belongs to no call.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self { arrived: Instant::now(), timeout }
    }

    /// This deadline, or `most` from now if that is earlier.
    #[must_use]
    pub fn within(self, most: Duration) -> Self {
        Self { timeout: self.timeout.min(self.waited() + most + TO_SEND), ..self }
    }

    /// How much time is left; zero when the deadline has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.timeout.saturating_sub(TO_SEND).saturating_sub(self.waited())
    }

    /// How long work may wait for a copy, so that it can still report how far the copy is.
    #[must_use]
    pub fn left_for_copies(self) -> Duration {
        self.timeout.saturating_sub(TO_REPORT).saturating_sub(self.waited())
    }

    /// How long ago the call arrived.
    #[must_use]
    pub fn waited(self) -> Duration {
        self.arrived.elapsed()
    }
}

fn timeout(metadata: &MetadataMap, most: Duration) -> Duration {
    let header = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
    header.and_then(parse).unwrap_or(most).min(most)
}

/// Reads the header: at most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    if digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_answered_before_it_gives_up() {
        let most = Duration::from_secs(90);
        let with = |header: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", header.parse().unwrap());
            timeout(&metadata, most)
        };
        assert_eq!(with("10S"), Duration::from_secs(10));
        assert_eq!(with("59999999u"), Duration::from_micros(59_999_999));
        assert_eq!(with("99999999H"), with("nonsense"));
        assert_eq!(with("2M"), with("nonsense"), "no longer than the driver's own limit");
        assert_eq!(timeout(&MetadataMap::new(), most), most);
        let deadline = Deadline::of(&MetadataMap::new(), most);
        assert!(deadline.left() <= most.saturating_sub(TO_SEND) && deadline.left() > Duration::from_secs(80));
        assert_eq!(Deadline::of(&MetadataMap::new(), TO_SEND).left(), Duration::ZERO);
        assert!(deadline.within(Duration::from_secs(8)).left() <= Duration::from_secs(8));
        let left = deadline.left();
        assert!(deadline.within(Duration::from_secs(100)).left() <= left, "it never gets later");
    }

    #[test]
    fn a_wait_for_a_copy_ends_before_the_deadline() {
        let deadline = Deadline::of(&MetadataMap::new(), Duration::from_secs(90));
        let to_answer = deadline.left().saturating_sub(deadline.left_for_copies());
        assert!(to_answer >= Duration::from_millis(300), "{to_answer:?}");
        let short = Deadline::of(&MetadataMap::new(), Duration::from_millis(510));
        assert!(
            short.left_for_copies() <= Duration::from_millis(10) && short.left() > Duration::from_millis(200)
        );
    }
}
