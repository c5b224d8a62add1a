//! Removing the names of a record.
//!
//! They are first moved aside, to the directory of this process, because there is no unlink(2) under a condition. What was moved
//! there is then compared with the record that was meant. The name aside says which record that is. So if this process is killed
//! before it has compared, the process that takes the name over can do it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::{
    ASIDE, CLAIMS, HeldRecord, INSIDE, busy, claim_file, gone_is_none, hash_of, hold_in, parents_of,
};
use crate::linux::{Dir, SysError, Time};
use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::process_dir::Draft;
use crate::volume::share::record::Record;
use crate::volume::share::records::file_of;
use crate::volume::share::state_dir::StateDir;

/// What the name aside of a claim, and that of a record, contains.
const OF_CLAIM: &str = "claim";
const OF_RECORD: &str = "record";

/// A name that was moved aside, and where it was.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) draft: Draft,
    dir: Arc<Dir>,
    name: String,
    is_claim: bool,
}

/// What became of the names that were moved aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// They were those of the record, and are removed. The claim may not have been among them, if another process deletes the volume, too.
    Removed { had_claim: bool },
    /// The volume had been deleted before. They belonged to another one, and are back in their places.
    Late,
    /// The directory was made again meanwhile, so the volume stays.
    Kept,
}

impl Aside {
    /// Gives the name its place back. Returns `false` if something else has the place.
    fn put_back(&self) -> Result<bool> {
        match self.draft.dir().link(self.draft.name(), &self.dir, &self.name) {
            Err(error) if error.is_taken() => Ok(false),
            linked => Ok(linked.map(|()| true)?),
        }
    }
}

impl StateDir {
    /// Removes all names of a record, so that the volume is deleted. If another volume has the names meanwhile, this is
    /// [`Error::Busy`](crate::volume::error::Error::Busy), and the names are put back. NFS requests: RENAME twice, and those of
    /// [`Self::complete`] without the look at the directory.
    pub fn release(&self, held: &HeldRecord) -> Result<()> {
        self.release_if(held, || Ok(true))
    }

    /// As [`Self::release`], but calls `is_gone` after the names were moved aside. If it returns `false`, the names are put back, and this is
    /// [`Error::Busy`](crate::volume::error::Error::Busy). A process that creates the directory checks the names afterwards
    /// ([`Self::has_record`]), and a process that deletes the volume checks the directory afterwards. So one of the two notices the other.
    pub fn release_if(&self, held: &HeldRecord, is_gone: impl FnOnce() -> Result<bool>) -> Result<()> {
        self.take_names(held, true, true, is_gone)?;
        self.keep(held)
    }

    /// Removes only the name of the record. This is for a volume whose path another volume has claimed.
    pub fn release_record(&self, held: &HeldRecord) -> Result<()> {
        self.take_names(held, false, true, || Ok(true))
    }

    pub(super) fn take_names(
        &self,
        held: &HeldRecord,
        with_claim: bool,
        with_record: bool,
        is_gone: impl FnOnce() -> Result<bool>,
    ) -> Result<()> {
        let asides = self.move_aside(held, with_claim, with_record)?;
        match self.settle(held, &asides, |_| is_gone())? {
            Settled::Removed { .. } => Ok(()),
            Settled::Late | Settled::Kept => Err(busy(held)),
        }
    }

    /// A new name aside for the claim of a record.
    pub(super) fn aside_of_claim(&self, held: &HeldRecord) -> Result<Draft> {
        self.draft(&name_aside(held, true))
    }

    /// Moves the names of a record aside, the claim first. So a retry finds the record until the claim is gone, and looks whether the path
    /// is still claimed for it.
    pub(super) fn move_aside(
        &self,
        held: &HeldRecord,
        with_claim: bool,
        with_record: bool,
    ) -> Result<Vec<Aside>> {
        let (claims, claim) = (self.kept_part(CLAIMS)?, claim_file(held.record.sub_dir.as_str()));
        let mut names = Vec::new();
        if with_claim {
            self.remove_inside(held, &claim, with_record)?;
            names.push((claims, claim, true));
        }
        if with_record {
            names.push((Arc::clone(&self.volumes), file_of(&held.key), false));
        }
        let mut asides = Vec::new();
        let (process, _turn) = self.process_among_many()?;
        for (dir, name, is_claim) in names {
            let draft = process.hold_new(&name_aside(held, is_claim));
            // If the name does not exist, the reply to a first request may have been lost, so it may be aside already.
            draft.take(&dir, &name)?;
            asides.push(Aside { draft, dir, name, is_claim });
        }
        Ok(asides)
    }

    /// Removes the names that were moved aside, if they were those of the record. Before that it calls `is_gone` with the time when they were
    /// moved, by the clock of the server. If that returns `false`, the names get their places back.
    pub(super) fn settle(
        &self,
        held: &HeldRecord,
        asides: &[Aside],
        is_gone: impl FnOnce(Time) -> Result<bool>,
    ) -> Result<Settled> {
        let mut listed = HashMap::new();
        for aside in asides {
            if !listed.contains_key(OsStr::new(aside.draft.name())) {
                listed.extend(inodes_of(&aside.draft)?);
            }
        }
        // While the file exists, no other one has its inode number.
        let now = held.file.now()?.filter(|now| now.links > 0);
        let own = now.map(|now| now.inode);
        let taken: Vec<(&Aside, u64)> = asides
            .iter()
            .filter_map(|aside| Some((aside, *listed.get(OsStr::new(aside.draft.name()))?)))
            .collect();
        if taken.iter().any(|(_, inode)| Some(*inode) != own) {
            for (aside, _) in taken {
                aside.put_back()?;
                aside.draft.remove_file()?;
            }
            return Ok(Settled::Late);
        }
        let had_claim = taken.iter().any(|(aside, _)| aside.is_claim);
        // Otherwise another process has moved the names aside, and looks.
        if let Some(now) = now.filter(|_| !taken.is_empty())
            && !is_gone(now.ctime)?
        {
            for (aside, _) in &taken {
                // If another volume has claimed the path meanwhile, the path belongs to that volume.
                if !aside.put_back()? {
                    break;
                }
            }
            if self.has_record(held)? {
                taken.iter().try_for_each(|(aside, _)| aside.draft.remove_file())?;
                return Ok(Settled::Kept);
            }
        }
        held.file.close();
        taken.iter().try_for_each(|(aside, _)| aside.draft.remove_file())?;
        Ok(Settled::Removed { had_claim })
    }

    fn remove_inside(&self, held: &HeldRecord, claim: &str, complete: bool) -> Result<()> {
        for (number, parent) in parents_of(&held.record.sub_dir).enumerate() {
            if number == 0 && complete && !held.is_current()? {
                return Err(busy(held));
            }
            let inside = self.kept_part(INSIDE)?.open_dir(hash_of(parent));
            gone_is_none(inside.and_then(|inside| inside.remove_file(claim)))?;
        }
        Ok(())
    }

    /// Decides about a name that a process had moved aside before it was killed, or whose deletion failed.
    ///
    /// If another file has it than the record that was meant, the process had stopped for a long time, and the next volume lives: its name is
    /// moved back. If the volume still has its other name, it is not deleted, and gets the name back, too. Otherwise it is deleted, and nothing
    /// is done.
    pub(in crate::volume::share) fn restore_name(&self, aside: &Draft) -> Result<()> {
        let Some(held) = hold_in(aside.dir(), aside.name(), &VolumeKey::of_name(""))? else {
            return Ok(());
        };
        let key = VolumeKey::of_name(&held.record.name);
        let (claims, claim) = (self.kept_part(CLAIMS)?, claim_file(held.record.sub_dir.as_str()));
        let warn = || {
            tracing::warn!(
                volume = held.record.name,
                "put back a name of a record that was removed by mistake"
            );
        };
        let link = |to: &Dir, name: String| {
            warn();
            match aside.dir().link(aside.name(), to, name) {
                Err(error) if !error.is_taken() => Err(error.into()),
                _ => Ok(()),
            }
        };
        if let Some(meant) = Meant::parse(aside.name())
            && let Some(inode) = inodes_of(aside)?.get(OsStr::new(aside.name()))
            && (*inode != meant.inode || identity_of(&held.record) != meant.identity)
        {
            return if meant.is_claim { link(&claims, claim) } else { link(&self.volumes, file_of(&key)) };
        }
        let is_same =
            |other: Option<HeldRecord>| other.is_some_and(|other| other.file.inode() == held.file.inode());
        let (to, name) = match (is_same(self.hold(&key)?), is_same(hold_in(&claims, &claim, &key)?)) {
            (true, false) => (&*claims, claim),
            (false, true) => (&*self.volumes, file_of(&key)),
            _ => return Ok(()),
        };
        link(to, name)
    }

    /// Does `work` with the directory of a deleted volume, while only this process may use the path. Returns `None` if another volume has
    /// claimed the path.
    pub fn with_path<T>(&self, held: &HeldRecord, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        // No volume can have this name, so no process takes this for the claim of a volume.
        let record = Record { name: format!("{ASIDE}/{}", held.record.name), ..held.record.clone() };
        let (draft, _file) = self.write_draft(&held.key, &record)?;
        let (claims, claim) = (self.kept_part(CLAIMS)?, claim_file(held.record.sub_dir.as_str()));
        let link = || draft.dir().link(draft.name(), &claims, &claim);
        let mut linked = link();
        if linked.as_ref().is_err_and(SysError::is_taken)
            && let Some(other) = hold_in(&claims, &claim, &held.key)?
            && other.file.inode() == held.file.inode()
        {
            // Another controller that was asked for the volume has claimed the path for it again, while the names were moved aside.
            other.file.close();
            self.free(&claims, &claim, &other)?;
            linked = link();
        }
        let done = match linked {
            Ok(()) => {
                let done = work();
                claims.remove_file(&claim)?;
                Some(done?)
            }
            Err(error) if error.is_taken() => None,
            Err(error) => return Err(error.into()),
        };
        draft.remove()?;
        Ok(done)
    }
}

/// The inode number that the server has for each entry of the directory of a draft. A list is used because the client believes that a
/// name still means what it meant before it was moved. This process has just changed the directory, so the client asks for a new list. NFS
/// requests: ACCESS, GETATTR and READDIR.
pub(in crate::volume::share) fn inodes_of(draft: &Draft) -> Result<HashMap<OsString, u64>> {
    Ok(draft.dir().entries(usize::MAX)?.into_iter().map(|entry| (entry.name, entry.inode)).collect())
}

/// The beginning of a name aside for the claim or the name of a record.
fn name_aside(held: &HeldRecord, is_claim: bool) -> String {
    let kind = if is_claim { OF_CLAIM } else { OF_RECORD };
    format!("{ASIDE}.{:x}.{kind}.{}", held.file.inode(), identity_of(&held.record))
}

/// What tells a record from an earlier one that had the same inode number.
fn identity_of(record: &Record) -> String {
    hash_of(&format!("{}/{}", record.created, record.name))
}

/// The record that was meant by a name aside.
struct Meant<'a> {
    inode: u64,
    /// Whether it was the name of its claim.
    is_claim: bool,
    identity: &'a str,
}

impl<'a> Meant<'a> {
    fn parse(aside: &'a str) -> Option<Self> {
        let mut parts = aside.strip_prefix(ASIDE)?.strip_prefix('.')?.split('.');
        let (inode, kind) = (u64::from_str_radix(parts.next()?, 16).ok()?, parts.next()?);
        Some(Self { inode, is_claim: kind == OF_CLAIM, identity: parts.next()? })
    }
}
