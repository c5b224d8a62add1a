//! `nfs-subdir-csi snapshots`.

use serde_json::json;

use super::output::Output;
use super::{Outcome, Session, ago};
use crate::terminal::bytes;

pub(super) fn list(session: &Session) -> anyhow::Result<Outcome> {
    let mut output = Output::new(["SNAPSHOT", "VOLUME", "SIZE", "AGE"], session.json);
    let outcome = session.each_export(|export| {
        session.volumes.each_snapshot(export, |snapshot| {
            let created = i64::try_from(snapshot.created_ns / 1_000_000_000).unwrap_or(0);
            let object = json!({
                "handle": snapshot.id,
                "export": export.to_string(),
                "group": snapshot.group.as_ref().map(ToString::to_string),
                "volume": snapshot.source,
                "sizeBytes": snapshot.size_bytes,
                "created": created,
            });
            let cells = [snapshot.id, snapshot.source, bytes(snapshot.size_bytes), ago(created)];
            Ok(output.row(cells, &object)?)
        })
    })?;
    output.end()?;
    Ok(outcome)
}
