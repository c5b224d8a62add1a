//! What is to become of each PersistentVolume, decided before anything is written.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use crate::linux::Dir;
use crate::volume::context::VolumeContext;
use crate::volume::foreign::ForeignHandle;
use crate::volume::parameters::{OnDelete, Ownership};
use crate::volume::provision::find_directory;
use crate::volume::record::Record;
use crate::volume::state_dir::StateDir;
use crate::volume::sub_dir::STATE_DIR;
use crate::volume::{Export, ExportRef, Result, SubDir, VolumeHandle, VolumeKey};

use super::pvs::{Csi, PersistentVolume};
use super::quantity;

/// What the operator wants.
pub(super) struct Rules {
    /// Where the volumes lie.
    pub(super) export: Export,
    /// How their handles name that.
    pub(super) id: ExportRef,
    /// The CSI driver whose volumes are taken.
    pub(super) from_driver: String,
    /// Policy of volumes whose handle has none.
    pub(super) on_delete: OnDelete,
}

/// All PersistentVolumes, in the order of the file.
pub(super) struct Plan {
    pub(super) rows: Vec<Row>,
}

/// One PersistentVolume.
pub(super) struct Row {
    pub(super) volume: PersistentVolume,
    /// What it would be here; `None` if it cannot be anything.
    pub(super) candidate: Option<Candidate>,
    pub(super) fate: Fate,
}

/// A volume as it would be here.
pub(super) struct Candidate {
    pub(super) key: VolumeKey,
    pub(super) handle: VolumeHandle,
    pub(super) record: Record,
}

/// What becomes of a PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// A record is to be written.
    Import,
    /// A record has been written.
    Imported,
    /// A record was there.
    AlreadyImported,
    /// It is none of ours.
    NotOurs(String),
    /// It is, but cannot be taken.
    Conflict(String),
}

impl Plan {
    /// Looks at every PersistentVolume and its directory. Writes nothing.
    pub(super) fn make(share: &Dir, rules: &Rules, volumes: Vec<PersistentVolume>) -> Result<Self> {
        let state = StateDir::open(share)?;
        let mut rows = Vec::new();
        for volume in volumes {
            let (candidate, fate) = match rules.place(&volume) {
                Err(fate) => (None, fate),
                Ok((sub_dir, on_delete)) => {
                    rules.judge(share, state.as_ref(), &volume, sub_dir, on_delete)?
                }
            };
            rows.push(Row { volume, candidate, fate });
        }
        let mut plan = Self { rows };
        plan.refuse_overlaps();
        Ok(plan)
    }

    /// How many have this fate.
    pub(super) fn count(&self, fate: impl Fn(&Fate) -> bool) -> usize {
        self.rows.iter().filter(|row| fate(&row.fate)).count()
    }

    /// Two volumes of which one's directory is the other's, or within it, cannot be deleted one without the other.
    fn refuse_overlaps(&mut self) {
        let directory =
            |row: &Row| row.candidate.as_ref().map(|candidate| candidate.record.sub_dir.to_string());
        let all: Vec<Option<String>> = self.rows.iter().map(directory).collect();
        for (index, row) in self.rows.iter_mut().enumerate() {
            let Some(own) = all[index].as_ref() else { continue };
            let overlaps = |other: &String| {
                let within = |a: &String, b: &String| a == b || a.starts_with(&format!("{b}/"));
                within(own, other) || within(other, own)
            };
            let mut others = all.iter().enumerate().filter(|(other, _)| *other != index);
            if others.any(|(_, other)| other.as_ref().is_some_and(overlaps)) {
                row.fate = Fate::Conflict(
                    "another PersistentVolume has this directory, or one within it".to_owned(),
                );
            }
        }
    }

    /// Entries at the top of the share that belong to no PersistentVolume of the file, in order.
    pub(super) fn orphans(&self, share: &Dir) -> Result<BTreeSet<String>> {
        let first = |row: &Row| {
            let sub_dir = row.candidate.as_ref()?.record.sub_dir.as_str();
            Some(sub_dir.split('/').next().unwrap_or(sub_dir).to_owned())
        };
        let known: BTreeSet<String> = self.rows.iter().filter_map(first).collect();
        let mut orphans = BTreeSet::new();
        share.for_each_entry(|entry| {
            let name = entry.name.display().to_string();
            if name != STATE_DIR && !known.contains(&name) {
                orphans.insert(name);
            }
        })?;
        Ok(orphans)
    }
}

impl Rules {
    /// The directory of a PersistentVolume below the share, and the policy that its handle names.
    fn place(&self, volume: &PersistentVolume) -> std::result::Result<(SubDir, Option<OnDelete>), Fate> {
        let not_ours = |reason: &str| Fate::NotOurs(reason.to_owned());
        let (server, path, on_delete) = if let Some(nfs) = &volume.spec.nfs {
            (nfs.server.clone(), nfs.path.clone(), None)
        } else if let Some(csi) = &volume.spec.csi {
            if csi.driver != self.from_driver {
                return Err(not_ours("of another CSI driver"));
            }
            let (export, sub_dir, on_delete) = csi_place(csi).map_err(Fate::Conflict)?;
            let path = format!("{}/{sub_dir}", export.share().trim_end_matches('/'));
            (export.server().to_owned(), path, on_delete)
        } else {
            return Err(not_ours("not on NFS"));
        };
        if !server.eq_ignore_ascii_case(self.export.server()) {
            return Err(not_ours("on another server"));
        }
        let share = self.export.share().trim_end_matches('/');
        let Some(below) = path.strip_prefix(share).and_then(|rest| rest.strip_prefix('/')) else {
            return Err(not_ours("on another share"));
        };
        let sub_dir = SubDir::parse(below.trim_end_matches('/'));
        sub_dir.map(|sub_dir| (sub_dir, on_delete)).map_err(|error| Fate::Conflict(error.to_string()))
    }

    /// Compares a PersistentVolume with what is on the share.
    fn judge(
        &self,
        share: &Dir,
        state: Option<&StateDir>,
        volume: &PersistentVolume,
        sub_dir: SubDir,
        on_delete: Option<OnDelete>,
    ) -> Result<(Option<Candidate>, Fate)> {
        let conflict = |reason: String| Ok((None, Fate::Conflict(reason)));
        let parent = match find_directory(share, &sub_dir) {
            Ok(Some(parent)) => parent,
            Ok(None) => return conflict(format!("the directory {sub_dir} is not there")),
            Err(error) => return conflict(error.to_string()),
        };
        let Some(capacity_bytes) = volume.spec.capacity.get("storage").and_then(|text| quantity::bytes(text))
        else {
            return conflict("its capacity cannot be read".to_owned());
        };
        let (uid, gid, mode) = parent.open_dir(sub_dir.split().1)?.ownership()?;
        let name = volume.metadata.name.clone();
        let key = VolumeKey::of_name(&name);
        let handle = match VolumeHandle::new(self.id.clone(), key.clone()) {
            Ok(handle) => handle,
            Err(error) => return conflict(error.to_string()),
        };
        let record = Record {
            name,
            sub_dir,
            capacity_bytes,
            on_delete: on_delete.unwrap_or(self.on_delete),
            ownership: Ownership { mode, uid: Some(uid), gid: Some(gid) },
            direct_mount: false,
            created: created(volume),
        };
        let fate = match state.map(|state| state.read(&key)).transpose()?.flatten() {
            None => Fate::Import,
            Some(there) if there.sub_dir == record.sub_dir && there.name == record.name => {
                Fate::AlreadyImported
            }
            Some(there) => {
                Fate::Conflict(format!("a volume of that name has the directory {}", there.sub_dir))
            }
        };
        Ok((Some(Candidate { key, handle, record }), fate))
    }
}

/// Where a volume of csi-driver-nfs is: what its handle says, or for one that was written by hand its attributes.
fn csi_place(csi: &Csi) -> std::result::Result<(Export, SubDir, Option<OnDelete>), String> {
    if let Some(handle) = ForeignHandle::parse(&csi.volume_handle) {
        return Ok((handle.export, handle.sub_dir, handle.on_delete));
    }
    match VolumeContext::parse(&csi.volume_attributes) {
        Ok(VolumeContext { export: Some(ExportRef::Inline(export)), sub_dir: Some(sub_dir), .. }) => {
            Ok((export, sub_dir, None))
        }
        Ok(_) => {
            Err(format!("neither the handle {:?} nor the attributes name a directory", csi.volume_handle))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// When Kubernetes made the PersistentVolume; 0 if it does not say.
fn created(volume: &PersistentVolume) -> u64 {
    let stamp =
        volume.metadata.creation_timestamp.as_deref().and_then(|text| humantime::parse_rfc3339(text).ok());
    stamp.and_then(|stamp| stamp.duration_since(UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs())
}
