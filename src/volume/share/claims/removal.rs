//! Deleting a volume: moving its directory away, then the names of its record ([`super::removing`]), and checking what was moved.
//!
//! A process can be stopped between its look at the claim and the RENAME of the directory, and continue when the path belongs to the
//! next volume. So a directory is first moved to the directory of this process, where no reaper touches it, and from there to
//! `deleted/` when it is known which one it is. The inode number does not say that for certain, because file systems use it again;
//! the handle of the directory does.

use super::removing::{Aside, Settled};
use super::{HeldRecord, busy, gone_is_none, hash_of};
use crate::linux::{Dir, Time};
use crate::volume::error::Result;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::deleted::Terms;
use crate::volume::share::directory::{Found, find_now};
use crate::volume::share::process_dir::Draft;
use crate::volume::share::state_dir::StateDir;

/// Where the directory of a volume goes that is deleted.
#[derive(Debug)]
pub(in crate::volume) enum Place {
    /// To `deleted/`, by way of the directory of this process.
    Deleted(Draft),
    /// To an archive: a directory, and a name that nothing has there.
    Archive(Dir, String),
}

/// A directory that was moved away, and where it is now.
#[derive(Debug)]
struct Moved {
    found: Found,
    place: Place,
}

/// A deletion that has done everything that its caller has to wait for.
#[derive(Debug)]
pub(in crate::volume) struct Removal {
    held: HeldRecord,
    moved: Option<Moved>,
    pub(super) asides: Vec<Aside>,
}

impl StateDir {
    /// The place for the directory of a volume, from where it is removed in the background. `policy` says when and how fast.
    pub(in crate::volume) fn place_in_deleted(
        &self,
        held: &HeldRecord,
        found: &Found,
        policy: ExportPolicy,
    ) -> Result<Place> {
        let claim = hash_of(held.record.sub_dir.as_str());
        let terms = Terms { inode: found.inode, claim, ..self.terms(policy)? };
        let (process, _turn) = self.process_among_many()?;
        Ok(Place::Deleted(process.hold(terms.name_of(&held.key))))
    }

    /// Moves the directory of a volume to its new place, and the names of its record aside. Then the volume is deleted. [`Self::complete`]
    /// checks what was moved and removes the names; the caller of DeleteVolume need not wait for that.
    ///
    /// After the directory was looked up, the caller has seen that the path was claimed for this record ([`Self::has_claim`]).
    ///
    /// NFS requests for a directory at the top of the share: 3 RENAME.
    pub(in crate::volume) fn take_away(
        &self,
        held: HeldRecord,
        found: Option<(Found, Place)>,
    ) -> Result<Removal> {
        let last = held.record.sub_dir.split().1;
        let mut moved = None;
        if let Some((found, place)) = found {
            // If the directory is not there, the reply to a first request may have been lost, so it may have been moved nevertheless.
            match &place {
                Place::Deleted(draft) => drop(draft.take(&found.parent, last)?),
                Place::Archive(to, name) => drop(gone_is_none(found.parent.rename(last, to, name))?),
            }
            moved = Some(Moved { found, place });
        }
        self.remove_empty_parents(&held.record.sub_dir);
        match self.move_aside(&held, true, true) {
            Ok(asides) => Ok(Removal { held, moved, asides }),
            Err(reason) => {
                let settled = moved.map_or(Ok(()), |moved| self.settle_directory(&held, &moved, false));
                Err(reason.with_cleanup(settled))
            }
        }
    }

    /// Completes a deletion. If the volume had been deleted before, what was moved belongs to the next volume, and gets its place
    /// back; and an archived volume stays if its directory was made again meanwhile. In both cases this is
    /// [`Error::Busy`](crate::volume::error::Error::Busy).
    ///
    /// NFS requests: GETATTR and READDIR to see what was moved aside, GETATTR to see that the record exists, GETATTR and LOOKUP to
    /// see that nobody has made the directory again, RENAME of the directory, CLOSE, and REMOVE for each name.
    pub(in crate::volume) fn complete(&self, removal: &Removal) -> Result<()> {
        let Removal { held, moved, asides } = removal;
        let is_archived = matches!(moved, Some(Moved { place: Place::Archive(..), .. }));
        let settled = self.settle(held, asides, |changed| {
            if is_archived {
                return Ok(find_now(&self.share, &held.record.sub_dir)?.is_none());
            }
            self.remove_made_again(held, changed).map(|()| true)
        })?;
        if let Some(moved) = moved {
            // While the path was claimed for this record, the directory was that of the volume.
            self.settle_directory(held, moved, settled == Settled::Removed { had_claim: true })?;
        }
        match settled {
            Settled::Removed { .. } => self.keep(held),
            Settled::Late | Settled::Kept => Err(busy(held)),
        }
    }

    /// Moves a directory on to `deleted/` if it is the one that was meant, and otherwise back to its place. An archive stays where it is.
    fn settle_directory(&self, held: &HeldRecord, moved: &Moved, is_certain: bool) -> Result<()> {
        let Moved { found, place } = moved;
        let (dir, name) = match place {
            Place::Deleted(draft) => (draft.dir(), draft.name()),
            Place::Archive(dir, name) => (dir, name.as_str()),
        };
        if is_certain || is_own(found, dir, name)? {
            if let Place::Deleted(draft) = place {
                gone_is_none(dir.rename(name, &*self.deleted()?, draft.name()))?;
            }
            return Ok(());
        }
        gone_is_none(dir.rename(name, &found.parent, held.record.sub_dir.split().1))?;
        Ok(())
    }

    /// Removes a directory that another controller, which was asked to create the volume, has made again while the names of its record
    /// were moved aside. That controller looks for the record afterwards ([`Self::has_record`]), so one of the two notices the other.
    /// `changed` is when the record was moved aside. A directory that is newer was made by somebody else.
    fn remove_made_again(&self, held: &HeldRecord, changed: Time) -> Result<()> {
        let Some(again) = find_now(&self.share, &held.record.sub_dir)? else { return Ok(()) };
        if again.dir.fresh()?.ctime > changed {
            return Ok(());
        }
        let last = held.record.sub_dir.split().1;
        self.with_path(held, || {
            if held.record.source.is_some() {
                // It was filled, and renamed into place.
                return self.discard_directory(held, &again.parent, again.inode);
            }
            match again.parent.remove_dir(last) {
                Err(error) if !error.is_not_found() && !error.is_not_empty() => Err(error.into()),
                _ => Ok(()),
            }
        })?;
        Ok(())
    }

    /// Moves the directory of a deleted volume from `parent` to `deleted/`. `inode` is the number of the one that is meant. If another
    /// directory has its place, the reaper sees that and gives it the place back. NFS request: RENAME.
    pub(in crate::volume) fn discard_directory(
        &self,
        held: &HeldRecord,
        parent: &Dir,
        inode: u64,
    ) -> Result<()> {
        let claim = hash_of(held.record.sub_dir.as_str());
        let terms = Terms { inode, claim, ..self.terms(ExportPolicy::default())? };
        let name = held.record.sub_dir.split().1;
        gone_is_none(parent.rename(name, &*self.deleted()?, terms.name_of(&held.key)))?;
        Ok(())
    }
}

/// Whether the directory `name` in `dir` is the one that was found.
fn is_own(found: &Found, dir: &Dir, name: &str) -> Result<bool> {
    // The list of names tells what was moved, because the client may have cached what the name meant before.
    dir.fresh()?;
    let entries = dir.entries(usize::MAX)?;
    let moved = entries.iter().find(|entry| entry.name == name).map(|entry| entry.inode);
    if moved != Some(found.inode) {
        return Ok(false);
    }
    // While its handle is valid, the directory exists, so no other one has its inode number.
    match found.dir.fresh() {
        Err(error) if error.is_stale() || error.is_not_found() => Ok(false),
        there => Ok(there.map(|_| true)?),
    }
}
