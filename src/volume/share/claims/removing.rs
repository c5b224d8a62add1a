//! Deleting a volume: moving its directory away, and removing the names of its record.

use super::{
    ASIDE, CLAIMS, HeldRecord, INSIDE, busy, claim_file, gone_is_none, hash_of, hold_in, parents_of,
};
use crate::linux::Dir;
use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::deleted::Terms;
use crate::volume::share::directory::Found;
use crate::volume::share::process_dir::Draft;
use crate::volume::share::record::Record;
use crate::volume::share::records::file_of;
use crate::volume::share::state_dir::StateDir;

impl HeldRecord {
    /// Moves the directory of a volume to `to`, under a name that does not exist there. If the volume was deleted meanwhile, this is
    /// [`Error::Busy`](crate::volume::error::Error::Busy), and a directory that belongs to another volume is moved back. NFS requests: GETATTR,
    /// RENAME, GETATTR.
    pub(in crate::volume) fn move_away(&self, found: &Found, to: &Dir, name: &str) -> Result<()> {
        // If the volume has its names now, the directory that was found before belonged to it.
        if !self.is_current()? {
            return Err(busy(self));
        }
        let (_, last) = self.record.sub_dir.split();
        if gone_is_none(found.parent.rename(last, to, name))?.is_none() || self.is_current()? {
            return Ok(());
        }
        // The list of names tells what was moved, because the client may have cached what the name meant before.
        to.fresh()?;
        let entries = to.entries(usize::MAX)?;
        let moved = entries.iter().find(|entry| entry.name == name).map(|entry| entry.inode);
        // While its handle is valid, the directory exists, so no other one has its inode number.
        let is_own = moved == Some(found.inode) && found.dir.fresh().is_ok();
        if moved.is_some() && !is_own {
            gone_is_none(to.rename(name, &found.parent, last))?;
        }
        Err(busy(self))
    }
}

impl StateDir {
    /// Removes all names of a record, so that the volume is deleted. If another volume has the names meanwhile, this is
    /// [`Error::Busy`](crate::volume::error::Error::Busy), and the names are put back. NFS requests: RENAME twice, GETATTR, REMOVE twice.
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
        let (claims, claim) = (self.kept_part(CLAIMS)?, claim_file(held.record.sub_dir.as_str()));
        let mut names: Vec<(&Dir, String)> = Vec::new();
        // The claim is removed first. So there is no claim without a record, unless a process is killed or stops for a long time.
        if with_claim {
            self.remove_inside(held, &claim, with_record)?;
            names.push((&claims, claim));
        }
        if with_record {
            names.push((&self.volumes, file_of(&held.key)));
        }
        let mut taken = Vec::new();
        for (dir, name) in &names {
            let aside = self.draft(ASIDE)?;
            if gone_is_none(dir.rename(name, aside.dir(), aside.name()))?.is_some() {
                taken.push((aside, *dir, name));
            }
        }
        let expected = u32::try_from(taken.len()).unwrap_or(u32::MAX) + u32::from(held.draft.is_some());
        if held.file.links()? < expected {
            for (aside, dir, name) in taken {
                aside.dir().rename(aside.name(), dir, name)?;
            }
            return Err(busy(held));
        }
        if !is_gone()? {
            for (aside, dir, name) in &taken {
                match aside.dir().link(aside.name(), dir, name) {
                    // Another volume has claimed the path meanwhile, so the path belongs to that volume.
                    Err(error) if error.is_taken() => break,
                    linked => linked?,
                }
            }
            if self.links_by_name(held)?.is_some() {
                taken.iter().try_for_each(|(aside, ..)| aside.remove_file())?;
                return Err(busy(held));
            }
        }
        held.file.close();
        taken.iter().try_for_each(|(aside, ..)| aside.remove_file())
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

    /// Puts back a name of a record that a process has moved aside, if the volume still has its other name. The process has stopped for a
    /// long time and was killed before it could put the name back itself. If the volume does not have its other name, it is deleted, and
    /// nothing is done.
    pub(in crate::volume::share) fn restore_name(&self, aside: &Draft) -> Result<()> {
        let Some(held) = hold_in(aside.dir(), aside.name(), &VolumeKey::of_name(""))? else {
            return Ok(());
        };
        let key = VolumeKey::of_name(&held.record.name);
        let (claims, claim) = (self.kept_part(CLAIMS)?, claim_file(held.record.sub_dir.as_str()));
        let is_same =
            |other: Option<HeldRecord>| other.is_some_and(|other| other.file.inode() == held.file.inode());
        let (to, name) = match (is_same(self.hold(&key)?), is_same(hold_in(&claims, &claim, &key)?)) {
            (true, false) => (&*claims, claim),
            (false, true) => (&self.volumes, file_of(&key)),
            _ => return Ok(()),
        };
        tracing::warn!(volume = held.record.name, "put back a name of a record that was removed by mistake");
        match aside.dir().link(aside.name(), to, name) {
            Err(error) if !error.is_taken() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Moves the directory of a volume to `deleted/`, from where it is removed in the background. `policy` says when and how fast.
    pub(in crate::volume) fn discard_volume(
        &self,
        held: &HeldRecord,
        found: &Found,
        policy: ExportPolicy,
    ) -> Result<()> {
        let claim = hash_of(held.record.sub_dir.as_str());
        let terms = Terms { inode: found.inode, claim, ..self.terms(policy)? };
        held.move_away(found, &*self.deleted()?, &terms.name_of(&held.key))
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
}
