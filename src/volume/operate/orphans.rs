//! Volumes without directory, and directories without volume.

use std::collections::BTreeSet;

use crate::linux::Dir;

use crate::volume::controller::list::handle_of;
use crate::volume::controller::snapshot::Snapshot;
use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::name::snapshot_handle::{Kind, SnapshotHandle};
use crate::volume::name::sub_dir::STATE_DIR;
use crate::volume::share::directory::find_now;
use crate::volume::share::record::Record;
use crate::volume::volumes::Volumes;

/// How many records are in memory at a time.
const PAGE: usize = 1000;

/// A directory that belongs to no volume, and what it seems to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Its path below the share. It is shown to people only.
    pub path: String,
    /// What it seems to be.
    pub seems: Seems,
}

/// What a directory without a volume seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seems {
    /// A volume that was deleted with the policy `archive`.
    Archive,
    /// Nothing that the driver knows: a volume that was deleted with the policy `retain`, one of another provisioner, or other files.
    Unknown,
}

impl Volumes {
    /// Calls `see` with each volume of an export, in order, until it fails. A record that cannot be read is left out, and the log names it. NFS requests:
    /// the READDIRs of the folder for each [`PAGE`] volumes, and OPEN, READ and CLOSE for each record.
    pub fn each_volume<E: From<Error>>(
        &self,
        id: &ExportRef,
        mut see: impl FnMut(VolumeHandle, &Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<VolumeKey> = None;
        loop {
            let begin = after.clone();
            let page = self.on_export(id, None, |_, mounted| {
                let Some(state) = mounted.existing_state()? else { return Ok((None, Vec::new())) };
                let keys = state.keys(begin.as_ref(), PAGE)?;
                Ok((keys.last().cloned(), state.readable_records(&keys)?))
            })?;
            for (key, record) in page.1 {
                see(handle_of(id, key, &record)?, &record)?;
            }
            match page.0 {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Calls `see` with each snapshot of an export, those of groups included, until it fails.
    pub fn each_snapshot<E: From<Error>>(
        &self,
        id: &ExportRef,
        mut see: impl FnMut(Snapshot) -> Result<(), E>,
    ) -> Result<(), E> {
        for kind in Kind::ALL {
            let mut last = None;
            loop {
                let page = self.list_sets(kind, id, last.as_ref(), PAGE, "", None)?;
                let is_last = page.len() < PAGE;
                last = page.last().and_then(|snapshot| SnapshotHandle::parse(&snapshot.id));
                page.into_iter().try_for_each(&mut see)?;
                if is_last || last.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The record of a volume whose directory does not exist on the server now. `None` if the directory or no record exists. NFS requests:
    /// those of [`Volumes::find`], GETATTR and LOOKUP.
    pub fn without_directory(&self, handle: &VolumeHandle) -> Result<Option<Record>> {
        let looked = self.with_record(&handle.to_string(), None, |mounted, _, record| {
            let found = find_now(mounted.share(), &record.sub_dir)?;
            Ok(found.is_none().then_some(record))
        });
        match looked {
            Err(Error::NotFound(_)) => Ok(None),
            looked => looked,
        }
    }

    /// Compares the directories of an export with those that its volumes have. NFS requests: the READDIRs of the share, and of the
    /// directories that contain volumes.
    pub fn compare_directories(&self, id: &ExportRef, volumes: &BTreeSet<String>) -> Result<Difference> {
        self.on_export(id, None, |_, mounted| {
            let mut difference = Difference { strays: Vec::new(), missing: volumes.clone() };
            look_into(mounted.share(), "", volumes, &mut difference)?;
            Ok(difference)
        })
    }
}

/// The difference between the directories of an export and those of its volumes.
#[derive(Debug)]
pub struct Difference {
    /// Directories that neither belong to a volume nor contain one.
    pub strays: Vec<Stray>,
    /// Directories of volumes that do not exist. A volume may have been deleted meanwhile, so each has to be looked at again.
    pub missing: BTreeSet<String>,
}

fn look_into(dir: &Dir, path: &str, volumes: &BTreeSet<String>, difference: &mut Difference) -> Result<()> {
    let mut inner = Vec::new();
    dir.for_each_entry(|entry| {
        if path.is_empty() && entry.name == STATE_DIR || entry.is_dir == Some(false) {
            return;
        }
        let name = entry.name.to_string_lossy();
        let own = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
        if difference.missing.remove(&own) || volumes.contains(&own) {
            return;
        }
        let below = format!("{own}/");
        // The paths of volumes below it come right after it in the order of texts.
        if volumes.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below)) {
            inner.push((entry.name, own));
        } else {
            let is_archive = own.rsplit('/').next().is_some_and(|name| name.starts_with("archived-"));
            let seems = if is_archive { Seems::Archive } else { Seems::Unknown };
            difference.strays.push(Stray { path: own, seems });
        }
    })?;
    for (name, path) in inner {
        // Whoever may change the share can have replaced it by a link meanwhile.
        match dir.open_dir(&name) {
            Err(error) if error.is_not_found() || error.is_unsafe_path() => {}
            opened => look_into(&opened?, &path, volumes, difference)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_without_a_volume_are_found_beside_and_between_volumes() {
        let temporary = tempfile::tempdir().unwrap();
        for path in ["v", "ns/a", "ns/b", "ns-x", "archived-old", "lost/deep", ".nfs-subdir-csi/volumes"] {
            std::fs::create_dir_all(temporary.path().join(path)).unwrap();
        }
        std::fs::write(temporary.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", temporary.path().join("link")).unwrap();
        let volumes: BTreeSet<String> = ["v", "ns/a", "ns/gone", "away/far"].map(str::to_owned).into();
        let mut difference = Difference { strays: Vec::new(), missing: volumes.clone() };
        look_into(&Dir::open(temporary.path()).unwrap(), "", &volumes, &mut difference).unwrap();
        assert_eq!(difference.missing, ["ns/gone", "away/far"].map(str::to_owned).into());
        let mut strays = difference.strays;
        strays.sort_by(|a, b| a.path.cmp(&b.path));
        let found: Vec<(&str, Seems)> =
            strays.iter().map(|stray| (stray.path.as_str(), stray.seems)).collect();
        let expected = [
            ("archived-old", Seems::Archive),
            ("lost", Seems::Unknown),
            ("ns-x", Seems::Unknown),
            ("ns/b", Seems::Unknown),
        ];
        assert_eq!(found, expected);
    }
}
