//! For how long the caller of a call waits.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// How long before the caller gives up it is told how far the work is.
const MARGIN: Duration = Duration::from_millis(500);

/// For how long a call may wait for work that goes on without it: until shortly before its caller gives up (header
/// `grpc-timeout`, gRPC over HTTP/2), and no longer than `most`.
pub fn time_left(metadata: &MetadataMap, most: Duration) -> Duration {
    let header = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
    let waits = header.and_then(parse).unwrap_or(most);
    waits.min(most).saturating_sub(MARGIN)
}

/// At most eight digits and a unit.
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
            time_left(&metadata, most)
        };
        assert_eq!(with("10S"), Duration::from_millis(9500));
        assert_eq!(with("59999999u"), Duration::from_micros(59_499_999));
        assert_eq!(with("99999999H"), with("nonsense"));
        assert_eq!(with("100m"), Duration::ZERO);
        assert_eq!(with("2M"), with("nonsense"), "no longer than the driver's own limit");
        assert_eq!(time_left(&MetadataMap::new(), most), Duration::from_millis(89_500));
    }
}
