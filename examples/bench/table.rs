//! A table of text. The first column is aligned to the left, the others to the right.

use std::fmt::Write as _;

/// Prints a heading and rows. A row of one cell is a title within the table.
pub(crate) fn print(heading: &[&str], rows: &[Vec<String>]) {
    let heading: Vec<String> = heading.iter().map(|&cell| cell.to_owned()).collect();
    let full = || std::iter::once(&heading).chain(rows).filter(|row| row.len() > 1);
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| full().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max())
        .map(|width| width.unwrap_or(0))
        .collect();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = format!("  {:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        println!("{}", line.trim_end());
    }
}

/// Prints a name and its items, on as many lines as they need.
pub(crate) fn print_list(name: &str, items: &[String]) {
    const NAME: usize = 36;
    const LINE: usize = 100;
    let mut line = format!("  {name:<NAME$}");
    for (number, item) in items.iter().enumerate() {
        let item = if number + 1 < items.len() { format!("{item}, ") } else { item.clone() };
        if line.chars().count() + item.trim_end().chars().count() > LINE {
            println!("{}", line.trim_end());
            line = format!("  {:<NAME$}", "");
        }
        line.push_str(&item);
    }
    if items.is_empty() {
        line.push_str("none");
    }
    println!("{}", line.trim_end());
}

/// A row of cells that are converted to text.
#[macro_export]
macro_rules! row {
    ($($cell:expr),+ $(,)?) => { vec![$($cell.to_string()),+] };
}
