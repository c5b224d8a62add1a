//! What a command prints: a table for people, or JSON for programs.

use std::io::{BufWriter, Stdout, Write, stdout};
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use crate::terminal::columns;

/// How many rows are in memory. The columns of a longer table can have other widths from there on.
const PAGE: usize = 1000;

/// Rows on standard output. Everything else that a command says goes to standard error.
pub(super) struct Output<const N: usize> {
    rows: Vec<[String; N]>,
    json: bool,
    to: BufWriter<Stdout>,
    progress: ProgressBar,
}

impl<const N: usize> Output<N> {
    /// Prints a table with this heading, or JSON.
    pub(super) fn new(heading: [&'static str; N], json: bool) -> Self {
        let rows = vec![heading.map(str::to_owned)];
        Self { rows, json, to: BufWriter::new(stdout()), progress: spinner("{pos} read") }
    }

    /// Adds a row: its cells, and what a program gets instead.
    pub(super) fn row(&mut self, cells: [String; N], object: &Value) -> std::io::Result<()> {
        self.progress.inc(1);
        if self.json {
            return writeln!(self.to, "{object}");
        }
        self.rows.push(cells);
        if self.rows.len() >= PAGE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.write_all(columns(&self.rows).as_bytes())?;
        self.rows.clear();
        Ok(())
    }

    /// Prints what is left. A table without rows has its heading only.
    pub(super) fn end(mut self) -> std::io::Result<()> {
        self.progress.finish_and_clear();
        if !self.json {
            self.flush()?;
        }
        self.to.flush()
    }
}

/// A sign of progress on standard error, if that is a terminal.
pub(super) fn spinner(template: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}
