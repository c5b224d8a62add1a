//! Deleting a volume: moving its directory away, and removing the names of its record.
//!
//! The names are first moved aside, to the directory of this process, because there is no unlink(2) under a condition. What was moved
//! there is then compared with the record that was meant. The name aside contains the inode number of that record. So if this
//! process is killed before it has compared, the process that takes the name over can do it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::{
    ASIDE, CLAIMS, HeldRecord, INSIDE, busy, claim_file, gone_is_none, hash_of, hold_in, parents_of,
};
use crate::linux::Dir;
use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::deleted::Terms;
use crate::volume::share::directory::{Found, find_now};
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
}

/// A directory that was moved away, and where it is now.
#[derive(Debug)]
struct Moved {
    found: Found,
    to: Arc<Dir>,
    name: String,
}

/// A deletion that has done everything that its caller has to wait for.
#[derive(Debug)]
pub(in crate::volume) struct Removal {
    held: HeldRecord,
    moved: Option<Moved>,
    pub(super) asides: Vec<Aside>,
}

/// What became of the names that were moved aside.
#[derive(Debug, PartialEq, Eq)]
enum Settled {
    /// They were those of the record, and are removed.
    Removed,
    /// The volume had been deleted before. They belonged to another one, and are back in their places.
    Late,
    /// The directory was made again meanwhile, so the volume stays.
    Kept,
}

impl StateDir {
    /// Moves the directory of a volume to `to`, and the names of its record aside. Then the volume is deleted. [`Self::complete`] checks what
    /// was moved and removes the names; the caller of DeleteVolume need not wait for that.
    ///
    /// After `found` was looked up, the caller has seen that the path was claimed for this record ([`Self::has_claim`]).
    ///
    /// NFS requests for a directory at the top of the share: 3 RENAME.
    pub(in crate::volume) fn take_away(
        &self,
        held: HeldRecord,
        found: Option<Found>,
        (to, name): (Arc<Dir>, String),
    ) -> Result<Removal> {
        let mut moved = None;
        if let Some(found) = found {
            let last = held.record.sub_dir.split().1;
            if gone_is_none(found.parent.rename(last, &to, &name))?.is_some() {
                moved = Some(Moved { found, to, name });
            }
        }
        self.remove_empty_parents(&held.record.sub_dir);
        match self.move_aside(&held, true, true) {
            Ok(asides) => Ok(Removal { held, moved, asides }),
            Err(reason) => {
                let put_back = moved.map_or(Ok(()), |moved| moved.put_back_if_other(&held));
                Err(reason.with_cleanup(put_back))
            }
        }
    }

    /// Whether nobody has made the directory again, since the names were moved aside. A process that makes it looks for the record afterwards
    /// ([`Self::has_record`]). So one of the two notices the other. Before the answer to the caller, because what is made after that is
    /// nothing of this volume. NFS requests: GETATTR and LOOKUP.
    pub(in crate::volume) fn stays_away(&self, removal: &Removal) -> Result<bool> {
        Ok(find_now(&self.share, &removal.held.record.sub_dir)?.is_none())
    }

    /// Completes a deletion. `stays_away` is what [`Self::stays_away`] says. If it is `false`, the volume stays. If the volume had been deleted
    /// before, what was moved belongs to the next volume, and gets its place back. In both cases this is
    /// [`Error::Busy`](crate::volume::error::Error::Busy).
    ///
    /// NFS requests: ACCESS, GETATTR and READDIR to see what was moved aside, GETATTR to see that the record exists, CLOSE, and REMOVE for each
    /// name.
    pub(in crate::volume) fn complete(&self, removal: &Removal, stays_away: bool) -> Result<()> {
        let Removal { held, moved, asides } = removal;
        let settled = self.settle(held, asides, || Ok(stays_away))?;
        if settled == Settled::Late
            && let Some(moved) = moved
        {
            moved.put_back_if_other(held)?;
        }
        if settled == Settled::Removed { self.keep(held) } else { Err(busy(held)) }
    }

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
        match self.settle(held, &asides, is_gone)? {
            Settled::Removed => Ok(()),
            Settled::Late | Settled::Kept => Err(busy(held)),
        }
    }

    /// A new name aside for the claim of the file with this inode number.
    pub(super) fn aside_of_claim(&self, inode: u64) -> Result<Draft> {
        self.draft(&name_aside(inode, true))
    }

    /// Moves the names of a record aside, the claim first. So a retry finds the record until the claim is gone, and looks whether the path
    /// is still claimed for it.
    fn move_aside(&self, held: &HeldRecord, with_claim: bool, with_record: bool) -> Result<Vec<Aside>> {
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
        for (dir, name, of_claim) in names {
            let draft = process.hold_new(&name_aside(held.file.inode(), of_claim));
            // If the name does not exist, the reply to a first request may have been lost, so it may be aside already.
            gone_is_none(dir.rename(&name, draft.dir(), draft.name()))?;
            asides.push(Aside { draft, dir, name });
        }
        Ok(asides)
    }

    /// Removes the names that were moved aside, if they were those of the record.
    fn settle(
        &self,
        held: &HeldRecord,
        asides: &[Aside],
        is_gone: impl FnOnce() -> Result<bool>,
    ) -> Result<Settled> {
        let mut listed = HashMap::new();
        for aside in asides {
            if !listed.contains_key(OsStr::new(aside.draft.name())) {
                listed.extend(inodes_of(&aside.draft)?);
            }
        }
        // While the file exists, no other one has its inode number.
        let own = if held.file.links()? > 0 { Some(held.file.inode()) } else { None };
        let taken: Vec<(&Aside, u64)> = asides
            .iter()
            .filter_map(|aside| Some((aside, *listed.get(OsStr::new(aside.draft.name()))?)))
            .collect();
        if taken.iter().any(|(_, inode)| Some(*inode) != own) {
            for (aside, _) in taken {
                aside.draft.dir().rename(aside.draft.name(), &aside.dir, &aside.name)?;
            }
            return Ok(Settled::Late);
        }
        if !is_gone()? {
            for (aside, _) in &taken {
                match aside.draft.dir().link(aside.draft.name(), &aside.dir, &aside.name) {
                    // Another volume has claimed the path meanwhile, so the path belongs to that volume.
                    Err(error) if error.is_taken() => break,
                    linked => linked?,
                }
            }
            if self.has_record(held)? {
                taken.iter().try_for_each(|(aside, _)| aside.draft.remove_file())?;
                return Ok(Settled::Kept);
            }
        }
        held.file.close();
        taken.iter().try_for_each(|(aside, _)| aside.draft.remove_file())?;
        Ok(Settled::Removed)
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
        if let Some((meant, of_claim)) = meant_by(aside.name())
            && inodes_of(aside)?.get(OsStr::new(aside.name())).is_some_and(|inode| *inode != meant)
        {
            let (to, name) = if of_claim { (&*claims, claim) } else { (&*self.volumes, file_of(&key)) };
            if to.fresh_entry(&name)?.is_none() {
                warn();
                aside.dir().rename(aside.name(), to, name)?;
            }
            return Ok(());
        }
        let is_same =
            |other: Option<HeldRecord>| other.is_some_and(|other| other.file.inode() == held.file.inode());
        let (to, name) = match (is_same(self.hold(&key)?), is_same(hold_in(&claims, &claim, &key)?)) {
            (true, false) => (&*claims, claim),
            (false, true) => (&*self.volumes, file_of(&key)),
            _ => return Ok(()),
        };
        warn();
        match aside.dir().link(aside.name(), to, name) {
            Err(error) if !error.is_taken() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Does `work` with the directory of a deleted volume, while only this process may use the path. Returns `None` if another volume has
    /// claimed the path.
    pub fn with_path<T>(&self, held: &HeldRecord, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        // No volume can have this name, so no process takes this for the claim of a volume.
        let record = Record { name: format!("{ASIDE}/{}", held.record.name), ..held.record.clone() };
        let (draft, _file) = self.write_draft(&held.key, &record)?;
        let (claims, claim) = (self.kept_part(CLAIMS)?, claim_file(held.record.sub_dir.as_str()));
        let linked = draft.dir().link(draft.name(), &claims, &claim);
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

    /// The place in `deleted/` for the directory of a volume, from where it is removed in the background. `policy` says when and how fast.
    pub(in crate::volume) fn place_in_deleted(
        &self,
        held: &HeldRecord,
        found: Option<&Found>,
        policy: ExportPolicy,
    ) -> Result<(Arc<Dir>, String)> {
        let claim = hash_of(held.record.sub_dir.as_str());
        let inode = found.map_or(0, |found| found.inode);
        let terms = Terms { inode, claim, ..self.terms(policy)? };
        Ok((self.deleted()?, terms.name_of(&held.key)))
    }
}

impl Moved {
    /// Puts the directory back, if another one was moved than the one that was meant.
    fn put_back_if_other(&self, held: &HeldRecord) -> Result<()> {
        let Self { found, to, name } = self;
        // The list of names tells what was moved, because the client may have cached what the name meant before.
        to.fresh()?;
        let entries = to.entries(usize::MAX)?;
        let moved = entries.iter().find(|entry| entry.name == name.as_str()).map(|entry| entry.inode);
        // While its handle is valid, the directory exists, so no other one has its inode number.
        let is_own = moved == Some(found.inode) && found.dir.fresh().is_ok();
        if moved.is_some() && !is_own {
            gone_is_none(to.rename(name, &found.parent, held.record.sub_dir.split().1))?;
        }
        Ok(())
    }
}

/// The inode number that the server has for each entry of the directory of a draft. A list is used because the client believes that a
/// name still means what it meant before it was moved. This process has just changed the directory, so the client asks for a new list. NFS
/// requests: ACCESS, GETATTR and READDIR.
fn inodes_of(draft: &Draft) -> Result<HashMap<OsString, u64>> {
    Ok(draft.dir().entries(usize::MAX)?.into_iter().map(|entry| (entry.name, entry.inode)).collect())
}

/// The beginning of a name aside for the claim or the record of the file with this inode number.
fn name_aside(inode: u64, of_claim: bool) -> String {
    let kind = if of_claim { OF_CLAIM } else { OF_RECORD };
    format!("{ASIDE}.{inode:x}.{kind}")
}

/// The inode number of the record that was meant by a name aside, and whether it was the name of the claim.
fn meant_by(aside: &str) -> Option<(u64, bool)> {
    let mut parts = aside.strip_prefix(ASIDE)?.strip_prefix('.')?.split('.');
    let (inode, kind) = (u64::from_str_radix(parts.next()?, 16).ok()?, parts.next()?);
    Some((inode, kind == OF_CLAIM))
}
