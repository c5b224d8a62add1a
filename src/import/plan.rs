//! Decides what happens to each PersistentVolume, before anything is written.

use std::time::UNIX_EPOCH;

use crate::linux::Dir;
use crate::volume::error::Result;
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::name::pvc::Pvc;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::policy::parameters::Ownership;
use crate::volume::share::record::Record;
use crate::volume::share::state_dir::StateDir;

use super::directories::{Directories, Owner};
use super::pvs::PersistentVolume;
use super::rules::{Candidate, Decision, Place, Rules};
use crate::quantity;

/// All PersistentVolumes, in the order of the file.
pub(super) struct Plan {
    pub(super) rows: Vec<Row>,
    directories: Directories,
}

/// One PersistentVolume.
pub(super) struct Row {
    pub(super) volume: PersistentVolume,
    /// Its directory, if that is within the share.
    pub(super) sub_dir: Option<SubDir>,
    /// The volume of this driver that it would become; `None` if it cannot become one.
    pub(super) candidate: Option<Candidate>,
    pub(super) decision: Decision,
}

impl Plan {
    /// Looks at every PersistentVolume and its directory, and writes nothing. Fails if a record on the share cannot be
    /// read, because it could name any of the directories.
    pub(super) fn make(
        share: &Dir,
        rules: &Rules,
        volumes: impl Iterator<Item = PersistentVolume>,
    ) -> Result<Self> {
        let state = StateDir::open(share)?;
        let mut directories = Directories::recorded(state.as_ref())?;
        let mut rows = Vec::new();
        for volume in volumes {
            let mut row = Row { sub_dir: None, candidate: None, decision: Decision::Import, volume };
            row.decision = match rules.place(&row.volume) {
                Err(decision) => decision,
                Ok(place) => {
                    row.sub_dir = Some(place.sub_dir.clone());
                    directories.add(&place.sub_dir, Owner::Row(rows.len()));
                    match rules.candidate(share, &row.volume, place) {
                        Err(reason) => Decision::Conflict(reason),
                        Ok(candidate) => {
                            let there = state.as_ref().map(|state| state.read(&candidate.key)).transpose()?;
                            let decision = decision_of(&candidate.record, there.flatten());
                            row.candidate = Some(candidate);
                            decision
                        }
                    }
                }
            };
            rows.push(row);
        }
        let mut plan = Self { rows, directories };
        plan.refuse_overlaps();
        Ok(plan)
    }

    /// The number of PersistentVolumes with such a decision.
    pub(super) fn count(&self, decision: impl Fn(&Decision) -> bool) -> usize {
        self.rows.iter().filter(|row| decision(&row.decision)).count()
    }

    /// The directories that belong neither to a PersistentVolume of the file nor to a record.
    pub(super) fn orphans(&self, share: &Dir) -> Vec<String> {
        self.directories.orphans(share)
    }

    /// Refuses volumes that have the same directory, or of which one has a directory within the other's: to delete one of
    /// them would delete data of the other.
    fn refuse_overlaps(&mut self) {
        let names: Vec<String> = self.rows.iter().map(|row| row.volume.metadata.name.clone()).collect();
        for (index, row) in self.rows.iter_mut().enumerate() {
            let (Some(sub_dir), Some(candidate)) = (&row.sub_dir, &row.candidate) else { continue };
            let handle = row.volume.source.csi.as_ref().map(|csi| VolumeKey::of_name(&csi.volume_handle));
            for (path, owner) in self.directories.owners_of(sub_dir) {
                let other = match owner {
                    Owner::Row(other) if *other == index => continue,
                    Owner::Record(key) if *key == candidate.key => continue,
                    Owner::Record(key) if Some(key) == handle.as_ref() && path == sub_dir.as_str() => {
                        row.decision = Decision::KnownByOldHandle;
                        continue;
                    }
                    Owner::Row(other) => format!("the PersistentVolume {}", names[*other]),
                    Owner::Record(key) => format!("this driver's volume {key}"),
                };
                row.decision = Decision::Conflict(if path == sub_dir.as_str() {
                    format!("{other} has the same directory")
                } else {
                    format!("{other} has the directory {path}")
                });
                break;
            }
        }
    }
}

impl Rules {
    /// The volume that a PersistentVolume would become, or why it cannot become one.
    fn candidate(&self, share: &Dir, volume: &PersistentVolume, place: Place) -> Result<Candidate, String> {
        let Place { sub_dir, on_delete, mount_options } = place;
        if volume.metadata.deletion_timestamp.is_some() {
            return Err("the PersistentVolume is being deleted".to_owned());
        }
        // To open the directory as a place needs no permission on the directory itself.
        let directory = share.open_place(&sub_dir).map_err(|error| {
            if error.is_not_found() {
                "the directory does not exist".to_owned()
            } else if error.is_unsafe_path() {
                "a part of its path is a symbolic link or not a directory".to_owned()
            } else {
                error.to_string()
            }
        })?;
        if !directory.is_on_file_system_of(share).map_err(|error| error.to_string())? {
            let reason =
                "it is on another file system than the share: import it with --share for that file system";
            return Err(reason.to_owned());
        }
        let (uid, gid, mode) = directory.ownership().map_err(|error| error.to_string())?;
        let capacity_bytes = quantity::bytes(volume.capacity())
            .ok_or_else(|| format!("its capacity {:?} is not a number of bytes", volume.capacity()))?;
        let name = volume.metadata.name.clone();
        let key = VolumeKey::of_name(&name);
        let handle = VolumeHandle::new(self.id.clone(), key.clone()).map_err(|error| error.to_string())?;
        let record = Record {
            name,
            sub_dir,
            capacity_bytes,
            on_delete: on_delete.unwrap_or(self.on_delete),
            ownership: Ownership { mode, uid: Some(uid), gid: Some(gid) },
            source: None,
            inodes: None,
            found: false,
            installation: None,
            pvc: Pvc::parse(&volume.claim()),
            direct_mount: false,
            reach: self.id.reach(),
            created: created(volume),
            later: serde_json::Map::new(),
        };
        Ok(Candidate { key, handle, record, mount_options })
    }
}

/// The decision if `there` is the record with the same key. Capacity and policy are not compared, because both can have
/// been changed since the import.
fn decision_of(record: &Record, there: Option<Record>) -> Decision {
    match there {
        None => Decision::Import,
        Some(there) if there.name == record.name && there.sub_dir == record.sub_dir => {
            Decision::AlreadyImported
        }
        Some(there) => Decision::Conflict(format!(
            "this driver's volume {} has the same key and the directory {}",
            there.name, there.sub_dir
        )),
    }
}

/// When the PersistentVolume was created, in seconds since 1970; 0 if the object does not say.
fn created(volume: &PersistentVolume) -> u64 {
    let stamp =
        volume.metadata.creation_timestamp.as_deref().and_then(|text| humantime::parse_rfc3339(text).ok());
    stamp.and_then(|stamp| stamp.duration_since(UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs())
}
