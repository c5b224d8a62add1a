//! The one line in the log that each call has. docs/TROUBLESHOOTING.md describes it.

use std::time::Instant;

use tonic::{Code, Status};

use super::steps::Steps;
use super::tally::Tally;

/// What the log shows of a text that a request contains, in bytes: the longest handle that CSI allows.
const LOGGED: usize = 128;

/// The beginning of a text from a request. A caller must not fill the memory or the log with it.
pub(super) fn shorten(text: &str) -> String {
    let end = text.floor_char_boundary(LOGGED);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

/// Writes the one line of a call, and counts its end, when it is dropped, so also when the caller goes away in the middle.
pub(super) struct LogLine {
    rpc: &'static str,
    volume: String,
    begun: Instant,
    end: End,
    tally: Tally,
    steps: Steps,
}

impl LogLine {
    /// The line of a call that begins now. `volume` is what it works on.
    pub(super) fn begin(rpc: &'static str, volume: String, tally: Tally, steps: Steps) -> Self {
        Self { rpc, volume, begun: Instant::now(), end: End::Abandoned, tally, steps }
    }

    /// The call is answered with an error.
    pub(super) fn fails(&mut self, status: &Status) {
        self.end = End::Failed(status.code(), status.message().to_owned());
    }

    /// The call is answered as its caller wishes.
    pub(super) fn succeeds(&mut self) {
        self.end = End::Done;
    }
}

enum End {
    /// Nobody waits for the answer any more.
    Abandoned,
    Done,
    Failed(Code, String),
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let Self { rpc, volume, begun, end, tally, steps } = self;
        let took = begun.elapsed();
        let code = match end {
            End::Done => Code::Ok,
            End::Failed(code, _) => *code,
            End::Abandoned => Code::Cancelled,
        };
        tally.end(rpc, code, took);
        let ms = took.as_secs_f64() * 1000.0;
        let ms = (ms * 100.0).round() / 100.0;
        let slow = steps.slow(took);
        match end {
            End::Done => tracing::info!(rpc, volume, ms, code = "OK", slow),
            End::Failed(code, error) => tracing::warn!(rpc, volume, ms, code = ?code, error, slow),
            End::Abandoned => {
                tracing::warn!(
                    rpc,
                    volume,
                    ms,
                    code = "Cancelled",
                    slow,
                    "the caller went away; work that has begun goes on"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_from_a_request_is_not_kept() {
        assert_eq!(shorten("nas:/srv#v"), "nas:/srv#v");
        assert_eq!(shorten(&"ä".repeat(100_000)).len(), LOGGED + '…'.len_utf8());
    }
}
