//! When the caller of a call must have an answer.

use std::time::{Duration, Instant};

use tonic::metadata::MetadataMap;

/// The answer is sent this long before the caller gives up, so that the caller learns how far the work is.
const MARGIN: Duration = Duration::from_millis(500);

/// The moment by which a call is answered. There is one for each call, fixed when the call arrives: waiting for a place
/// counts as much as the work.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    arrived: Instant,
    end: Instant,
}

impl Deadline {
    /// The deadline of a call that arrives now: shortly before the caller gives up (header `grpc-timeout` of gRPC over
    /// HTTP/2), and at most `most` from now.
    #[must_use]
    pub fn of(metadata: &MetadataMap, most: Duration) -> Self {
        let arrived = Instant::now();
        Self { arrived, end: arrived + time_to_answer(metadata, most) }
    }

    /// How much time is left; zero when the deadline has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// How long ago the call arrived.
    #[must_use]
    pub fn waited(self) -> Duration {
        self.arrived.elapsed()
    }
}

fn time_to_answer(metadata: &MetadataMap, most: Duration) -> Duration {
    let header = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
    header.and_then(parse).unwrap_or(most).min(most).saturating_sub(MARGIN)
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
            time_to_answer(&metadata, most)
        };
        assert_eq!(with("10S"), Duration::from_millis(9500));
        assert_eq!(with("59999999u"), Duration::from_micros(59_499_999));
        assert_eq!(with("99999999H"), with("nonsense"));
        assert_eq!(with("100m"), Duration::ZERO);
        assert_eq!(with("2M"), with("nonsense"), "no longer than the driver's own limit");
        assert_eq!(time_to_answer(&MetadataMap::new(), most), Duration::from_millis(89_500));
    }
}
