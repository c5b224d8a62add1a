//! The table that the operator reads before the import.

use super::plan::{Plan, Row};
use super::printable::printable;
use super::rules::Decision;

const HEADING: [&str; 6] =
    ["PERSISTENTVOLUME", "CLAIM", "DIRECTORY", "CAPACITY", "ON DELETE", "WHAT HAPPENS"];

/// One line for each PersistentVolume, in columns.
pub(super) fn render(plan: &Plan) -> String {
    let rows: Vec<[String; 6]> =
        std::iter::once(HEADING.map(str::to_owned)).chain(plan.rows.iter().map(cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADING.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn cells(row: &Row) -> [String; 6] {
    let happens = match &row.decision {
        Decision::Import => "to be imported".to_owned(),
        Decision::Imported => "imported".to_owned(),
        Decision::AlreadyImported => "already imported".to_owned(),
        Decision::KnownByOldHandle => "left alone: has a record under its old handle".to_owned(),
        Decision::NotOurs(reason) => format!("left alone: {reason}"),
        Decision::Conflict(reason) => format!("CONFLICT: {reason}"),
    };
    let record = row.candidate.as_ref().map(|candidate| &candidate.record);
    [
        row.volume.metadata.name.clone(),
        row.volume.claim(),
        row.sub_dir.as_ref().map(ToString::to_string).unwrap_or_default(),
        row.volume.capacity().to_owned(),
        record.map(|record| record.on_delete.to_string()).unwrap_or_default(),
        happens,
    ]
    .map(|cell| printable(&cell))
}
