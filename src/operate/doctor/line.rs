//! What `doctor` says about one thing, and how the process that examines an export tells it to the one that prints it.

use std::fmt;
use std::io::{Write, stdout};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::linux::SysError;
use crate::terminal::printable;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    /// Volumes can be used, and something about them is not as it could be.
    Warn,
    /// The driver cannot work like this.
    Fail,
}

/// One line of the output.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    /// What was looked at. docs/COMMANDS.md lists all.
    pub(super) check: String,
    pub(super) state: State,
    pub(super) found: String,
    /// What to do, if the state is not ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
    /// Half, nine tenths and 99 of 100 operations were faster, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) milliseconds: Option<[f64; 3]>,
}

impl Line {
    pub(super) fn ok(check: &str, found: impl Into<String>) -> Self {
        let (check, found) = (check.to_owned(), found.into());
        Self { check, state: State::Ok, found, advice: None, milliseconds: None }
    }

    pub(super) fn warn(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Warn, advice: Some(advice.into()), ..Self::ok(check, found) }
    }

    pub(super) fn fail(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Fail, ..Self::warn(check, found, advice) }
    }

    /// The line of an error of the server of which no more is known.
    pub(super) fn unexpected(check: &str, error: &SysError) -> Self {
        Self::fail(check, error.to_string(), "look at the log of the server")
    }
}

/// For a person at a terminal. Control characters are replaced.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        };
        write!(f, "{state:<4}  {:<20}  {}", printable(&self.check), printable(&self.found))?;
        match &self.advice {
            Some(advice) => write!(f, "\n{:28}→ {}", "", printable(advice)),
            None => Ok(()),
        }
    }
}

/// What the process that examines says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Message {
    /// It begins to look at something, which takes at most so many seconds.
    Begin {
        check: String,
        seconds: u64,
    },
    Line(Line),
}

impl Message {
    /// Tells the other process. If that has gone, there is nobody to examine for.
    pub(super) fn send(&self) {
        let text = serde_json::to_string(self).unwrap_or_default();
        if writeln!(stdout(), "{text}").is_err() {
            std::process::exit(1);
        }
    }
}

/// Says that a look at something begins.
pub(super) fn begin(check: &str, limit: Duration) {
    Message::Begin { check: check.to_owned(), seconds: limit.as_secs() }.send();
}

/// Says what was found.
pub(super) fn report(line: Line) {
    Message::Line(line).send();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_same_in_the_other_process_and_a_terminal_obeys_nothing_in_it() {
        let line = Line::warn("space", "a\u{1b}[2Jb", "make room");
        let text = serde_json::to_string(&Message::Line(line)).unwrap();
        let Message::Line(line) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(
            line.to_string(),
            format!("warn  space                 a\u{fffd}[2Jb\n{}→ make room", " ".repeat(28))
        );
        assert_eq!(Line::ok("mount", "NFS 4.2").to_string(), "ok    mount                 NFS 4.2");
    }
}
