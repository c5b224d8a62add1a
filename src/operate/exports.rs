//! `nfs-subdir-csi exports`.

use serde_json::json;

use super::output::Output;
use super::{Outcome, Session, ago};
use crate::terminal::bytes;
use crate::volume::controller::survey::Surveys;

const HEADING: [&str; 9] =
    ["EXPORT", "AT", "SIZE", "AVAILABLE", "VOLUMES", "PROMISED", "SNAPSHOTS", "TRASH", "OLDEST"];

pub(super) fn list(session: &Session) -> anyhow::Result<Outcome> {
    let mut output = Output::new(HEADING, session.json);
    let surveys = Surveys::default();
    let settings = session.volumes.settings.get();
    let outcome = session.each_export(|export| {
        let sources: Vec<String> =
            settings.resolve(export)?.sources.iter().map(ToString::to_string).collect();
        let surveyed = session.volumes.survey(export, 0, &surveys);
        if let Err(error) = surveyed {
            let object = json!({ "export": export.to_string(), "at": sources, "error": error.to_string() });
            let mut cells = HEADING.map(|_| "-".to_owned());
            (cells[0], cells[1]) = (export.to_string(), sources.join(", "));
            output.row(cells, &object)?;
            return Err(error.into());
        }
        let Some(survey) = surveys.of(export) else { return Ok(()) };
        let object = json!({
            "export": export.to_string(),
            "at": sources,
            "sizeBytes": survey.total_bytes,
            "availableBytes": survey.available_bytes,
            "volumes": survey.volumes,
            "unreadableRecords": survey.unreadable,
            "promisedBytes": survey.promised_bytes,
            "snapshots": survey.snapshots,
            "trash": survey.deleted,
            "oldestDeleted": survey.oldest_deleted,
        });
        let cells = [
            export.to_string(),
            sources.join(", "),
            bytes(survey.total_bytes),
            bytes(survey.available_bytes),
            survey.volumes.to_string(),
            bytes(survey.promised_bytes),
            survey.snapshots.to_string(),
            survey.deleted.to_string(),
            survey.oldest_deleted.map_or_else(|| "-".to_owned(), ago),
        ];
        Ok(output.row(cells, &object)?)
    })?;
    output.end()?;
    Ok(outcome)
}
