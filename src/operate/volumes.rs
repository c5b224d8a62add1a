//! `nfs-subdir-csi volumes`.

use serde_json::json;

use super::output::Output;
use super::{Outcome, Session, ago};
use crate::terminal::bytes;
use crate::volume::name::pvc::Pvc;

pub(super) fn list(session: &Session) -> anyhow::Result<Outcome> {
    let mut output = Output::new(
        ["VOLUME", "CLAIM", "DIRECTORY", "CAPACITY", "ON DELETE", "INSTALLATION", "AGE"],
        session.json,
    );
    let outcome = session.each_export(|export| {
        session.volumes.each_volume(export, |handle, record| {
            let created = i64::try_from(record.created).unwrap_or(0);
            let object = json!({
                "handle": handle.to_string(),
                "export": export.to_string(),
                "name": record.name,
                "namespace": record.pvc.as_ref().map(Pvc::namespace),
                "claim": record.pvc.as_ref().map(Pvc::name),
                "directory": record.sub_dir.as_str(),
                "capacityBytes": record.capacity_bytes,
                "onDelete": record.on_delete.to_string(),
                "installation": record.installation,
                "created": record.created,
            });
            let cells = [
                handle.to_string(),
                record.pvc.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                record.sub_dir.to_string(),
                if record.capacity_bytes == 0 { "none".to_owned() } else { bytes(record.capacity_bytes) },
                record.on_delete.to_string(),
                record.installation.clone().unwrap_or_else(|| "-".to_owned()),
                if record.created == 0 { "-".to_owned() } else { ago(created) },
            ];
            Ok(output.row(cells, &object)?)
        })
    })?;
    output.end()?;
    Ok(outcome)
}
