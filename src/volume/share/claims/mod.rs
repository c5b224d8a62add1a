//! Which volume has which directory: claims.
//!
//! A record is one file with several names (hard links), and all of them are made and removed together:
//!
//! ```text
//! volumes/<key>.json                   one volume has the key
//! claims/<path>.json                   one volume has the directory
//! inside/<path of a parent>/<path>.json    asks whether there is a volume inside a directory
//! ```
//! where `<path>` is a hash of the directory's path. link(2) is exclusive on every server, so of any number of processes one
//! gets a name. The content of the file is only ever replaced in place. So the file is the identity of the volume: whoever
//! holds it open, and sees that it still has all its names, knows that the volume was not deleted meanwhile, whatever the
//! NFS client has cached of the names, and whatever has these names now.

mod making;
mod parents;
mod removing;

use sha2::{Digest, Sha256};

use crate::linux::dir::HeldFile;
use crate::linux::{Dir, SysError};

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::process_dir::Draft;
use crate::volume::share::record::{LONGEST_RECORD, Record};
use crate::volume::share::records::file_of;
use crate::volume::share::state_dir::StateDir;

/// The folder of claims.
const CLAIMS: &str = "claims";
/// The folder of the volumes inside of directories.
const INSIDE: &str = "inside";
/// What the names of records begin with that were moved aside. No key of a volume has this character.
pub(super) const ASIDE: &str = "~name";

/// A volume's record, with the file that it was read from.
#[derive(Debug)]
pub struct HeldRecord {
    /// The key of the volume.
    pub key: VolumeKey,
    /// Its record when it was read.
    pub record: Record,
    file: HeldFile,
    /// A further name of the file in the directory of this process, if this process has made the record.
    draft: Option<Draft>,
}

/// What came of adding a record.
#[derive(Debug)]
pub enum Added {
    /// The volume is promised.
    Made(Box<HeldRecord>),
    /// A volume of this key exists.
    Exists,
    /// Another volume has this directory, one around it, or one inside it: a text that says which.
    Overlaps(String),
}

impl HeldRecord {
    /// How many names the file has, if the volume is promised and not deleted.
    fn names(&self) -> u32 {
        let parents = u32::try_from(parents_of(&self.record.sub_dir).count()).unwrap_or(u32::MAX);
        parents.saturating_add(2 + u32::from(self.draft.is_some()))
    }

    /// Whether the volume is still this one, and its directory its own. One GETATTR.
    pub fn is_current(&self) -> Result<bool> {
        Ok(self.file.links()? >= self.names())
    }
}

impl StateDir {
    /// The record of a volume with its file. NFS requests: GETATTR, OPEN, READ, and CLOSE in the end.
    pub fn hold(&self, key: &VolumeKey) -> Result<Option<HeldRecord>> {
        hold_in(&self.volumes, &file_of(key), key)
    }

    /// Ends the making of a volume: removes the name that the record has in the directory of this process. NFS requests: CLOSE and REMOVE.
    pub fn keep(&self, held: &HeldRecord) -> Result<()> {
        let Some(draft) = &held.draft else { return Ok(()) };
        held.file.close();
        draft.remove_file()
    }

    /// Whether the record has its name and all the others on the server now. A name that a deletion has moved aside does not count. NFS
    /// requests: GETATTR, and LOOKUP or GETATTR.
    pub fn has_record(&self, held: &HeldRecord) -> Result<bool> {
        let now = self.volumes.fresh_entry(file_of(&held.key))?;
        Ok(now.is_some_and(|now| now.inode == held.file.inode() && now.links >= held.names()))
    }

    /// Whether the record has its name in `volumes/` on the server now.
    fn has_name(&self, held: &HeldRecord) -> Result<bool> {
        let now = self.volumes.fresh_entry(file_of(&held.key))?;
        Ok(now.is_some_and(|now| now.inode == held.file.inode()))
    }

    /// Makes sure that the volume has its directory: a process that was killed, or version 0.1.0, may have left a record
    /// without a claim. Answers the other volume if that has the directory. No request if all is as it should be.
    pub fn claim(&self, held: &HeldRecord) -> Result<Option<String>> {
        // A record that this process has just made has its claim.
        if held.draft.is_some() || held.file.links_at_first() >= held.names() {
            return Ok(None);
        }
        Ok(self.claim_from(held, &self.volumes, &file_of(&held.key))?.map(|(_, owner)| owner))
    }

    /// Replaces the content of a record. `Err(Busy)` if another process is changing it or has changed it since it was read. NFS
    /// requests: LOCK, READ, WRITE, GETATTR, and LOCKU in the end. On NFS 3 and on servers without locks, two controllers that change one record at
    /// the same instant are not kept apart, and one of the changes is lost.
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
        // Spaces at the end are no part of the content (RFC 8259, section 2).
        json.resize(json.len().max(now.len()), b'\n');
        held.file.rewrite(&json)?;
        if held.is_current()? { Ok(()) } else { Err(busy(held)) }
    }

    /// The volume that has the directory `sub_dir`, one around it or one inside it.
    pub fn owner_of(&self, sub_dir: &SubDir) -> Result<Option<String>> {
        let nobody = VolumeKey::of_name("");
        let claim = hold_in(&*self.kept_part(CLAIMS)?, &claim_file(sub_dir.as_str()), &nobody)?;
        match claim.map(|claim| self.owner_by(&claim)).transpose()?.flatten() {
            Some(owner) => Ok(Some(owner)),
            None => self.overlap_of(sub_dir, &nobody),
        }
    }

    /// The path that the volume with this claim has.
    pub(in crate::volume::share) fn path_of_claim(&self, claim: &str) -> Result<Option<SubDir>> {
        let name = format!("{claim}.json");
        let Some(claim) = hold_in(&*self.kept_part(CLAIMS)?, &name, &VolumeKey::of_name(""))? else {
            return Ok(None);
        };
        Ok(self.owner_by(&claim)?.map(|_| claim.record.sub_dir))
    }

    /// The volume whose claim this is; `None` if it has no record any more.
    pub(super) fn owner_by(&self, claim: &HeldRecord) -> Result<Option<String>> {
        // A volume of csi-driver-nfs has its handle as its name.
        let key = VolumeKey::of_name(&claim.record.name);
        let owner = self.hold(&key)?.filter(|owner| owner.file.inode() == claim.file.inode());
        Ok(owner.map(|owner| {
            format!("volume {:?} has the directory {}", owner.record.name, owner.record.sub_dir)
        }))
    }

    /// A volume with a directory around `sub_dir` or inside it, other than the one of `key`. NFS requests: GETATTR and
    /// LOOKUP, and 2 more for each parent.
    pub(super) fn overlap_of(&self, sub_dir: &SubDir, key: &VolumeKey) -> Result<Option<String>> {
        for parent in parents_of(sub_dir) {
            if let Some(claim) = hold_in(&*self.kept_part(CLAIMS)?, &claim_file(parent), key)?
                && let Some(owner) = self.owner_by(&claim)?
            {
                return Ok(Some(format!("{owner}, which is around {sub_dir}")));
            }
        }
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
    let Some((file, json)) = dir.hold_file(name, LONGEST_RECORD)? else { return Ok(None) };
    let record = Record::from_json(&json, &format!("{}/{name}", dir.label()))?;
    Ok(Some(HeldRecord { key: key.clone(), record, file, draft: None }))
}

/// The name of the claim of a path, without its ending.
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

fn busy(held: &HeldRecord) -> Error {
    Error::Busy(format!("volume {:?} was deleted or made anew meanwhile; ask again", held.record.name))
}

#[cfg(test)]
mod tests;
