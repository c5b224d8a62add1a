//! `nfs-subdir-csi orphans`.

use std::collections::BTreeMap;

use anyhow::bail;
use serde_json::json;

use super::ask::agrees;
use super::output::Output;
use super::{Outcome, Session, pvs};
use crate::config::operate::OrphansArgs;
use crate::volume::operate::orphans::Seems;

const HEADING: [&str; 4] = ["KIND", "EXPORT", "WHAT", "REMARK"];

/// What `orphans` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    RecordWithoutDirectory,
    DirectoryWithoutRecord,
    Unused,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::RecordWithoutDirectory => "record-without-directory",
            Self::DirectoryWithoutRecord => "directory-without-record",
            Self::Unused => "unused",
        }
    }
}

pub(super) fn run(session: &Session, args: &OrphansArgs) -> anyhow::Result<Outcome> {
    let own = session.volumes.settings.get().installation.clone();
    if args.delete && own.is_none() {
        bail!(
            "--delete needs `installation` in the configuration: without it nobody knows which volumes on the share belong to \
             another cluster"
        );
    }
    let used = args.pvs.as_deref().map(pvs::handles).transpose()?;
    let mut output = Output::new(HEADING, session.json);
    let mut unused = Vec::new();
    let mut count = 0;
    let outcome = session.each_export(|export| {
        let mut rows: Vec<(Kind, String, String)> = Vec::new();
        let mut directories = BTreeMap::new();
        let mut looked_for = Vec::new();
        session.volumes.each_volume::<anyhow::Error>(export, |handle, record| {
            let is_unused = used.as_ref().is_some_and(|used| !used.contains(&handle.to_string()));
            match (&own, &record.installation) {
                (own, of) if is_unused && own == of => {
                    rows.push((Kind::Unused, handle.to_string(), "no PersistentVolume uses it".to_owned()));
                    looked_for.push(handle.to_string());
                }
                // Another cluster may use it.
                (_, None) if is_unused => rows.push((
                    Kind::Unused,
                    handle.to_string(),
                    "no PersistentVolume of this cluster uses it, and its record names no installation"
                        .to_owned(),
                )),
                _ => {}
            }
            directories.insert(record.sub_dir.as_str().to_owned(), handle);
            Ok(())
        })?;
        let difference =
            session.volumes.compare_directories(export, &directories.keys().cloned().collect())?;
        for handle in difference.missing.iter().filter_map(|path| directories.get(path)) {
            if let Some(record) = session.volumes.without_directory(handle)? {
                let remark = if record.source.is_some() { "it may be being filled" } else { "" };
                rows.push((Kind::RecordWithoutDirectory, handle.to_string(), remark.to_owned()));
            }
        }
        for stray in difference.strays {
            let remark = match stray.seems {
                Seems::Archive => "an archive (onDelete: archive)",
                Seems::Unknown => "retained, of another provisioner, or something else",
            };
            rows.push((Kind::DirectoryWithoutRecord, stray.path, remark.to_owned()));
        }
        for (kind, what, remark) in rows {
            count += 1;
            let object = json!({
                "kind": kind.name(),
                "export": export.to_string(),
                "what": what,
                "remark": remark,
            });
            output.row([kind.name().to_owned(), export.to_string(), what, remark], &object)?;
        }
        unused.append(&mut looked_for);
        Ok(())
    })?;
    output.end()?;
    let outcome = if args.delete { delete(session, &unused, args.yes, outcome)? } else { outcome };
    Ok(if outcome == Outcome::Done && count > 0 && !args.delete { Outcome::Found } else { outcome })
}

/// Deletes volumes as DeleteVolume does: each as its record says, so that `delete` means the trash.
fn delete(session: &Session, unused: &[String], yes: bool, before: Outcome) -> anyhow::Result<Outcome> {
    if unused.is_empty() {
        return Ok(before);
    }
    let question = format!(
        "{} volumes of this installation will be deleted, each as its record says: moved to the trash, archived or retained.",
        unused.len()
    );
    if !agrees(yes, &question)? {
        bail!("nothing was deleted");
    }
    let mut outcome = before;
    for handle in unused {
        match session.volumes.delete(handle, None) {
            Ok(()) => eprintln!("nfs-subdir-csi: {handle} was deleted"),
            Err(error) => {
                eprintln!("nfs-subdir-csi: {handle} was not deleted: {error}");
                outcome = Outcome::Failed;
            }
        }
    }
    Ok(outcome)
}
