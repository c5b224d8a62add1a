//! Claims: which volume has which directory.
//!
//! A record is one file with several names (hard links). All names are created and removed together:
//!
//! ```text
//! volumes/<key>.json                   one volume has the key
//! claims/<path>.json                   one volume has the directory
//! inside/<path of a parent>/<path>.json    shows whether there is a volume inside a directory
//! ```
//! Here `<path>` is a hash of the directory's path. link(2) is exclusive on every server: if several processes try to create one name, only
//! one succeeds. The content of the file is replaced only in place. So the file is the identity of the volume. If a process has the
//! file open and sees that it still has all its names, the volume was not deleted meanwhile. This does not depend on what the NFS client has
//! cached of the names, or on what has these names now.

pub mod look;
mod making;
mod parents;
mod removal;
mod removing;

pub(in crate::volume) use removal::Place;
pub(in crate::volume::share) use removing::inodes_of;

use sha2::{Digest, Sha256};

use crate::linux::dir::HeldFile;
use crate::linux::{Dir, SysError, Time};

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::process_dir::Draft;
use crate::volume::share::record::{LONGEST_RECORD, Record};
use crate::volume::share::records::file_of;
use crate::volume::share::state_dir::StateDir;

/// The folder of claims.
const CLAIMS: &str = "claims";
/// The folder that shows which volumes are inside a directory.
const INSIDE: &str = "inside";
/// The beginning of the names of records that were moved aside. The key of a volume cannot have this character.
pub(super) const ASIDE: &str = "~name";

/// The record of a volume, with the file that it was read from.
#[derive(Debug)]
pub struct HeldRecord {
    /// The key of the volume.
    pub key: VolumeKey,
    /// The content of the record when it was read.
    pub record: Record,
    file: HeldFile,
    /// The name that the file also has in the directory of this process, if this process has created the record.
    draft: Option<Draft>,
}

/// The result of adding a record.
#[derive(Debug)]
pub enum Added {
    /// The record was added.
    Made(Box<HeldRecord>),
    /// A volume with this key exists.
    Exists,
    /// Another volume has this directory, or one around it or inside it. The text says which volume.
    Overlaps(String),
}

impl HeldRecord {
    fn read(dir: &Dir, name: &str, key: &VolumeKey, (file, json): (HeldFile, Vec<u8>)) -> Result<Self> {
        let record = Record::from_json(&json, &format!("{}/{name}", dir.label()))?;
        Ok(Self { key: key.clone(), record, file, draft: None })
    }

    /// Whether this call has created the record.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.draft.is_some()
    }

    /// When the record was last written, by the clock of the server. One GETATTR.
    pub fn written(&self) -> Result<Time> {
        Ok(self.file.changed()?)
    }

    /// How many names the file has while the volume exists.
    fn names(&self) -> u32 {
        let parents = u32::try_from(parents_of(&self.record.sub_dir).count()).unwrap_or(u32::MAX);
        parents.saturating_add(2 + u32::from(self.draft.is_some()))
    }

    /// Whether the file had all names of the volume when it was opened, as far as the client knows. A deletion that was killed may have
    /// removed some of them. Then [`StateDir::claim`] creates them again.
    #[must_use]
    pub fn had_all_names(&self) -> bool {
        self.file.links_at_first() >= self.names()
    }

    /// Whether the volume still exists and has its path. One GETATTR.
    pub fn is_current(&self) -> Result<bool> {
        Ok(self.file.links()? >= self.names())
    }
}

impl StateDir {
    /// The record of a volume with its file. NFS requests: GETATTR, OPEN and READ, and CLOSE when it is dropped.
    pub fn hold(&self, key: &VolumeKey) -> Result<Option<HeldRecord>> {
        hold_in(&self.volumes, &file_of(key), key)
    }

    /// Completes a record that this process has created: removes its name in the directory of this process. NFS requests: CLOSE and REMOVE.
    pub fn keep(&self, held: &HeldRecord) -> Result<()> {
        let Some(draft) = &held.draft else { return Ok(()) };
        held.file.close();
        draft.remove_file()
    }

    /// The record of a volume as [`Self::hold`] gives it, but perhaps that of an earlier volume with this key. The caller sees that with
    /// [`Self::has_claim`]. NFS requests: OPEN and READ, and CLOSE when it is dropped.
    pub fn hold_known(&self, key: &VolumeKey) -> Result<Option<HeldRecord>> {
        let file = file_of(key);
        match self.volumes.hold_known_file(&file, LONGEST_RECORD)? {
            Some(found) => Ok(Some(HeldRecord::read(&self.volumes, &file, key, found)?)),
            // The client may remember that the name did not exist.
            None => self.hold(key),
        }
    }

    /// Whether the name in `volumes/` belongs to this record now. A name that a deletion has moved aside does not count. A deletion moves this
    /// one aside last. NFS requests: GETATTR, and LOOKUP if another client has changed the folder.
    pub fn has_record(&self, held: &HeldRecord) -> Result<bool> {
        Ok(held.file.is_named(&self.volumes, file_of(&held.key))?)
    }

    /// Whether the path is claimed for this record now. A deletion moves the claim aside first. So if this is true, the volume exists, and no
    /// other volume has the path. NFS requests: GETATTR, and LOOKUP if another client has changed the folder or this one does not know the name.
    pub fn has_claim(&self, held: &HeldRecord) -> Result<bool> {
        Ok(held.file.is_named(&*self.kept_part(CLAIMS)?, claim_file(held.record.sub_dir.as_str()))?)
    }

    /// Claims the path of a volume that has a record, if it is not claimed. A process that was killed, or version 0.1.0, may have left a
    /// record without a claim. If another volume has the path, returns a text that says which. Sends no request if this call has created the
    /// record, and otherwise those of [`Self::has_claim`] if the record has its claim.
    pub fn claim(&self, held: &HeldRecord) -> Result<Option<String>> {
        // The count alone would not do: a name that a killed process has moved aside is counted, too.
        if held.draft.is_some() || held.had_all_names() && self.has_claim(held)? {
            return Ok(None);
        }
        Ok(self.claim_from(held, &self.volumes, &file_of(&held.key))?.map(|(_, owner)| owner))
    }

    /// Replaces the content of a record. If another process is changing the record, or has changed it since it was read, this is
    /// [`Error::Busy`]. With NFS 3 and on servers without locks, two controllers can change one record at the same instant, and one of the
    /// changes is lost. NFS requests: LOCK, READ, WRITE, GETATTR, and LOCKU when the record is dropped.
    pub fn change(&self, held: &HeldRecord, record: &Record) -> Result<()> {
        let changed =
            || Error::Busy(format!("another process is changing volume {:?}; ask again", held.record.name));
        if !held.file.try_lock()? {
            return Err(changed());
        }
        let now = held.file.content(LONGEST_RECORD)?;
        if Record::from_json(&now, &file_of(&held.key))? != held.record {
            return Err(changed());
        }
        let mut json = record.to_json();
        // White space at the end does not belong to the content (RFC 8259, section 2).
        json.resize(json.len().max(now.len()), b'\n');
        held.file.rewrite(&json)?;
        if held.is_current()? { Ok(()) } else { Err(busy(held)) }
    }

    /// A text about the volume that has the directory `sub_dir`, or one around it or inside it.
    pub fn owner_of(&self, sub_dir: &SubDir) -> Result<Option<String>> {
        let nobody = VolumeKey::of_name("");
        let claim = hold_in(&*self.kept_part(CLAIMS)?, &claim_file(sub_dir.as_str()), &nobody)?;
        match claim.map(|claim| self.owner_by(&claim)).transpose()?.flatten() {
            Some(owner) => Ok(Some(owner)),
            None => self.overlap_of(sub_dir, &nobody),
        }
    }

    /// The path of the volume with this claim, if the volume exists.
    pub(in crate::volume::share) fn path_of_claim(&self, claim: &str) -> Result<Option<SubDir>> {
        let name = format!("{claim}.json");
        let Some(claim) = hold_in(&*self.kept_part(CLAIMS)?, &name, &VolumeKey::of_name(""))? else {
            return Ok(None);
        };
        Ok(self.owner_by(&claim)?.map(|_| claim.record.sub_dir))
    }

    /// A text about the volume that this claim belongs to; `None` if the volume has no record any more.
    pub(super) fn owner_by(&self, claim: &HeldRecord) -> Result<Option<String>> {
        // A volume of csi-driver-nfs has its handle as its name.
        let key = VolumeKey::of_name(&claim.record.name);
        let owner = self.hold(&key)?.filter(|owner| owner.file.inode() == claim.file.inode());
        Ok(owner.map(|owner| {
            format!("volume {:?} has the directory {}", owner.record.name, owner.record.sub_dir)
        }))
    }

    /// A text about a volume with a directory around `sub_dir` or inside it, other than the volume `key`. NFS requests: those of
    /// [`Self::around`] and [`Self::inside`].
    pub(super) fn overlap_of(&self, sub_dir: &SubDir, key: &VolumeKey) -> Result<Option<String>> {
        match self.around(sub_dir, key)? {
            Some(owner) => Ok(Some(owner)),
            None => self.inside(sub_dir, key),
        }
    }

    /// A text about a volume with a directory around `sub_dir`. NFS requests: GETATTR and LOOKUP for each parent.
    pub(in crate::volume) fn around(&self, sub_dir: &SubDir, key: &VolumeKey) -> Result<Option<String>> {
        for parent in parents_of(sub_dir) {
            if let Some(claim) = hold_in(&*self.kept_part(CLAIMS)?, &claim_file(parent), key)?
                && let Some(owner) = self.owner_by(&claim)?
            {
                return Ok(Some(format!("{owner}, which is around {sub_dir}")));
            }
        }
        Ok(None)
    }

    /// A text about a volume with a directory inside `sub_dir`, other than the volume `key`. NFS requests: GETATTR, and LOOKUP if any volume
    /// is inside a directory.
    pub(in crate::volume) fn inside(&self, sub_dir: &SubDir, key: &VolumeKey) -> Result<Option<String>> {
        let all = self.kept_part(INSIDE)?;
        // A directory has a link for each directory in it, on most file systems, and two for itself.
        if all.fresh()?.links == 2 {
            return Ok(None);
        }
        let inside = match all.open_dir(hash_of(sub_dir.as_str())) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        inside.fresh()?;
        for entry in inside.entries(usize::MAX)? {
            let Some(name) = entry.name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            if let Some(claim) = hold_in(&inside, name, key)?
                && let Some(owner) = self.owner_by(&claim)?
            {
                return Ok(Some(format!("{owner}, which is inside {sub_dir}")));
            }
        }
        Ok(None)
    }
}

fn hold_in(dir: &Dir, name: &str, key: &VolumeKey) -> Result<Option<HeldRecord>> {
    dir.hold_file(name, LONGEST_RECORD)?.map(|found| HeldRecord::read(dir, name, key, found)).transpose()
}

/// The hash of a path: the name of its claim without the ending.
pub(super) fn hash_of(path: &str) -> String {
    let digest = Sha256::digest(path);
    let number = digest.iter().take(16).fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
    format!("{number:032x}")
}

fn claim_file(path: &str) -> String {
    format!("{}.json", hash_of(path))
}

/// The paths of the directories above `sub_dir`.
fn parents_of(sub_dir: &SubDir) -> impl Iterator<Item = &str> {
    let path = sub_dir.as_str();
    path.match_indices('/').map(|(end, _)| &path[..end])
}

fn gone_is_none(result: Result<(), SysError>) -> Result<Option<()>> {
    match result {
        Err(error) if error.is_not_found() => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// The error when a volume, or one with the same name, has changed under a call.
pub(in crate::volume) fn busy(held: &HeldRecord) -> Error {
    Error::Busy(format!("volume {:?} was deleted or created again meanwhile; ask again", held.record.name))
}

#[cfg(test)]
mod tests;
