//! `nfs-subdir-csi trash`.

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use serde_json::json;

use super::ask::agrees;
use super::output::Output;
use super::{Outcome, Session, ago, now};
use crate::config::operate::{EmptyArgs, RestoreArgs};
use crate::quantity;
use crate::terminal::{age, printable};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::trash::Deleted;
use crate::volume::volumes::context_of;

pub(super) fn list(session: &Session) -> anyhow::Result<Outcome> {
    let mut output = Output::new(["EXPORT", "NAME", "KIND", "DELETED", "REMOVED IN"], session.json);
    let outcome = session.each_export(|export| {
        for Deleted { name, key, is_volume, deleted, due } in session.volumes.trash(export)? {
            let kind = if is_volume { "volume" } else { "other" };
            let object = json!({
                "export": export.to_string(),
                "name": name,
                "key": key.as_str(),
                "kind": kind,
                "deleted": deleted,
                "due": due,
            });
            let left = u64::try_from(due).unwrap_or(0).saturating_sub(now());
            let left = if left == 0 { "now".to_owned() } else { age(left) };
            output.row([export.to_string(), name, kind.to_owned(), ago(deleted), left], &object)?;
        }
        Ok(())
    })?;
    output.end()?;
    Ok(outcome)
}

/// The export that has the entry. A name is unique, so there is one at most.
fn find(session: &Session, name: &str) -> anyhow::Result<(ExportRef, VolumeKey)> {
    for export in &session.exports {
        if let Some(entry) = session.volumes.trash(export)?.into_iter().find(|entry| entry.name == name) {
            return Ok((export.clone(), entry.key));
        }
    }
    bail!("{} is not in the trash: `trash list` has the names", printable(name))
}

pub(super) fn restore(session: &Session, args: &RestoreArgs) -> anyhow::Result<Outcome> {
    let capacity = quantity::bytes(&args.capacity)
        .with_context(|| format!("--capacity: {:?} is not a quantity such as 10Gi", args.capacity))?;
    let (export, key) = find(session, &args.name)?;
    let sub_dir = SubDir::parse(args.directory.as_deref().unwrap_or(key.as_str()))?;
    let (handle, record) = session.volumes.restore(&export, &args.name, &sub_dir, capacity)?;
    eprintln!(
        "nfs-subdir-csi: restored as volume {handle} in the directory {sub_dir}; apply the PersistentVolume that follows, and \
         name it in `volumeName` of a claim"
    );
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": key.as_str() },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": { "storage": args.capacity },
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "csi": {
                "driver": args.driver_name,
                "volumeHandle": handle.to_string(),
                "volumeAttributes": context_of(&handle, &record).to_map(),
            },
        },
    });
    println!("{}", serde_json::to_string_pretty(&manifest)?);
    Ok(Outcome::Done)
}

pub(super) fn empty(session: &Session, args: &EmptyArgs) -> anyhow::Result<Outcome> {
    let before = args.older_than.map(|age| now().saturating_sub(age.as_secs()));
    let is_wanted = |entry: &Deleted| {
        let is_old = before.is_none_or(|before| u64::try_from(entry.deleted).unwrap_or(0) <= before);
        is_old && (args.names.is_empty() || args.names.contains(&entry.name))
    };
    let mut removed = 0;
    let mut unknown = args.names.clone();
    let outcome = session.each_export(|export| {
        let wanted: Vec<String> =
            session.volumes.trash(export)?.into_iter().filter(is_wanted).map(|entry| entry.name).collect();
        unknown.retain(|name| !wanted.contains(name));
        if wanted.is_empty() {
            return Ok(());
        }
        let question =
            format!("{} deleted volumes and snapshots of {export} will be removed for ever.", wanted.len());
        if !agrees(args.yes, &question)? {
            bail!("nothing was removed");
        }
        let bar = ProgressBar::new(wanted.len() as u64);
        let failures = session.volumes.empty_trash(export, &wanted, || bar.inc(1))?;
        bar.finish_and_clear();
        removed += wanted.len() - failures.len();
        for (name, error) in &failures {
            eprintln!("nfs-subdir-csi: {}: {error}", printable(name));
        }
        if failures.is_empty() { Ok(()) } else { bail!("{} could not be removed", failures.len()) }
    })?;
    for name in &unknown {
        eprintln!("nfs-subdir-csi: {} is not in the trash, or younger than asked for", printable(name));
    }
    eprintln!("nfs-subdir-csi: {removed} removed");
    Ok(if unknown.is_empty() { outcome } else { Outcome::Failed })
}
