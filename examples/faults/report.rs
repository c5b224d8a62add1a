//! What the program prints, and the table that it keeps in docs/FAULTS.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tonic::Code;

use crate::calls::Outcome;
use crate::cell::Cell;
use crate::fault::Fault;
use crate::world::Version;

const PAGE: &str = "docs/FAULTS.md";
/// The lines around a table, in the output and in the page.
const BEGIN: &str = "<!-- made by make faults: begin";
const END: &str = "<!-- made by make faults: end";

/// Prints all calls of a cell. Returns whether all is as promised.
pub(crate) fn print(cell: &Cell, took: Duration) -> bool {
    println!(
        "\n{} {}: {:.0} s; recovery {}; healthy publish {:.1} ms, before {:.1} ms; load {:.1}",
        cell.fault.name(),
        cell.moment.name(),
        took.as_secs_f64(),
        cell.recovery.map_or_else(|| "none".to_owned(), |time| format!("{:.1} s", time.as_secs_f64())),
        cell.healthy.1.as_secs_f64() * 1000.0,
        cell.healthy.0.as_secs_f64() * 1000.0,
        cell.load,
    );
    let mut passed = true;
    for (outcome, broken) in &cell.outcomes {
        let Outcome { name, code, took, message, .. } = outcome;
        let mark = if broken.is_some() { "FAIL" } else { "ok  " };
        println!(
            "  {mark} {name}: {code:?} after {:.2} s{}{message}",
            took.as_secs_f64(),
            if message.is_empty() { "" } else { ": " }
        );
        if let Some(reason) = broken {
            println!("       {reason}");
            passed = false;
        }
    }
    for failure in &cell.failures {
        println!("  FAIL {failure}");
        passed = false;
    }
    passed
}

/// Prints the number of cells, and the table. Returns whether there are cells.
pub(crate) fn summary(version: Version, cells: &[Cell], took: Duration, all: bool) -> bool {
    let all_calls: usize = cells.iter().map(|cell| cell.outcomes.len()).sum();
    let broken = |cell: &Cell| cell.outcomes.iter().filter(|(_, broken)| broken.is_some()).count();
    let failed: usize = cells.iter().map(broken).sum();
    let failures: usize = cells.iter().map(|cell| cell.failures.len()).sum();
    println!(
        "\nNFS {}: {} cells of fault and moment with {all_calls} calls in {:.0} s: {failed} calls and {failures} other promises failed",
        version.name(),
        cells.len(),
        took.as_secs_f64()
    );
    for fault in Fault::ALL {
        if let Some(reason) = fault.impossible(version) {
            println!("no cells for {}: {reason}", fault.name());
        }
    }
    // The page has the whole table, and the output also has a part of it.
    if all {
        println!("{BEGIN} {} -->", version.name());
    }
    table(version, cells);
    if all {
        println!("{END} {} -->", version.name());
    }
    !cells.is_empty()
}

fn table(version: Version, cells: &[Cell]) {
    println!("\n## NFS {}\n", version.name());
    println!("| fault | moment | answer | calls | an example of the message |");
    println!("|---|---|---|---|---|");
    for fault in Fault::ALL {
        if let Some(reason) = fault.impossible(version) {
            println!("| {} | | | | {reason} |", fault.description());
        }
        for cell in cells.iter().filter(|cell| cell.fault == fault) {
            let mut groups: BTreeMap<i32, Vec<&Outcome>> = BTreeMap::new();
            let needs_export = |outcome: &&Outcome| outcome.class.needs_export();
            for outcome in cell.outcomes.iter().map(|(outcome, _)| outcome).filter(needs_export) {
                groups.entry(outcome.code.into()).or_default().push(outcome);
            }
            for outcomes in groups.values() {
                let longest = outcomes.iter().max_by_key(|outcome| outcome.took).map(|outcome| outcome.took);
                let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.name).collect();
                println!(
                    "| {} | {} | {} within {:.0} s | {} | {} |",
                    fault.description(),
                    cell.moment.name(),
                    code_name(outcomes[0].code),
                    longest.unwrap_or_default().as_secs_f64().ceil(),
                    names.join(", "),
                    outcomes[0].message.replace('|', "\\|").replace('\n', " ").replace('`', "'")
                );
            }
        }
    }
    println!();
}

/// The name that the CSI specification uses.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// Collects the table from the output of the guest.
pub(crate) fn collect(table: &mut Option<String>, line: &str) {
    if line.starts_with(BEGIN) {
        *table = Some(String::new());
    }
    if let Some(table) = table.as_mut().filter(|table| !table.contains(END)) {
        table.push_str(line);
        table.push('\n');
    }
}

/// Puts the table of one version into the page, in the place of the one before.
pub(crate) fn keep(version: &str, table: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (begin, end) = (format!("{BEGIN} {version} -->\n"), format!("{END} {version} -->\n"));
    let before = page.find(&begin).context("the page has no place for the table")?;
    let after = page.find(&end).context("the page has no place for the table")? + end.len();
    std::fs::write(&path, format!("{}{table}{}", &page[..before], &page[after..]))?;
    Ok(())
}
