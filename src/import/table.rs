//! The table that the operator reads before the import.

use super::plan::{Plan, Row};
use super::rules::Decision;
use crate::terminal::columns;

const HEADING: [&str; 6] =
    ["PERSISTENTVOLUME", "CLAIM", "DIRECTORY", "CAPACITY", "ON DELETE", "WHAT HAPPENS"];

/// One line for each PersistentVolume, in columns.
pub(super) fn render(plan: &Plan) -> String {
    let rows: Vec<[String; 6]> =
        std::iter::once(HEADING.map(str::to_owned)).chain(plan.rows.iter().map(cells)).collect();
    columns(&rows)
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
}
