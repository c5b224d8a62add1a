//! The table that the operator reads before saying yes.

use super::plan::{Fate, Plan, Row};

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
    let of = |text: &dyn Fn(&super::plan::Candidate) -> String| {
        row.candidate.as_ref().map(text).unwrap_or_default()
    };
    [
        row.volume.metadata.name.clone(),
        row.volume.claim(),
        of(&|candidate| candidate.record.sub_dir.to_string()),
        row.volume.spec.capacity.get("storage").cloned().unwrap_or_default(),
        of(&|candidate| format!("{:?}", candidate.record.on_delete).to_lowercase()),
        match &row.fate {
            Fate::Import => "to be imported".to_owned(),
            Fate::Imported => "imported".to_owned(),
            Fate::AlreadyImported => "already imported".to_owned(),
            Fate::NotOurs(reason) => format!("left alone: {reason}"),
            Fate::Conflict(reason) => format!("CONFLICT: {reason}"),
        },
    ]
}
