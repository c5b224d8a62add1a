//! The output on the terminal.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

/// Prints each step when it is done. If the demo fails, the step that has begun and is not done is the one that failed.
pub(crate) struct Page {
    step: String,
    count: usize,
    colour: bool,
}

impl Page {
    pub(crate) fn new() -> Self {
        Self { step: String::new(), count: 0, colour: stdout().is_terminal() }
    }

    pub(crate) fn chapter(&mut self, title: &str) {
        println!("\n{}", self.paint("1", title));
    }

    pub(crate) fn begin(&mut self, step: impl Into<String>) {
        self.step = step.into();
    }

    /// Prints that the step has succeeded.
    pub(crate) fn done(&mut self, time: Option<Duration>, detail: impl AsRef<str>) {
        let time = time.map_or_else(String::new, |time| format!("{:.1} ms", time.as_secs_f64() * 1000.0));
        let mark = self.paint("32", "✓");
        let line = format!("  {mark} {:<31}{time:>9}   {}", self.step, detail.as_ref());
        println!("{}", line.trim_end());
        self.count += 1;
        self.step.clear();
    }

    /// Prints one more line about the last step.
    pub(crate) fn more(name: &str, value: impl AsRef<str>) {
        println!("      {name:<12}{}", value.as_ref());
    }

    pub(crate) fn failed(&self, error: &anyhow::Error) {
        println!("  {} {}\n    {error:#}", self.paint("31", "FAILED"), self.step);
    }

    /// How many steps have succeeded.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
