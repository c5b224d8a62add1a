//! Claiming the path of a volume, and adding its record.

use std::sync::atomic::Ordering;

use super::{Added, CLAIMS, HeldRecord, INSIDE, busy, claim_file, hash_of, hold_in, parents_of};
use crate::linux::Dir;
use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::record::Record;
use crate::volume::share::records::file_of;
use crate::volume::share::state_dir::StateDir;

/// If this file is in `claims/`, the records of version 0.1.0, which had no claims, have them.
const COMPLETE: &str = ".complete";
/// How often a call removes a claim without a volume before it gives up.
const ATTEMPTS: usize = 3;

impl StateDir {
    /// Claims the path of a volume whose directory exists or will be moved into place, and writes its record. The caller completes this with
    /// [`Self::keep`] or undoes it with [`Self::release`].
    ///
    /// The claim comes before the record. So a record has a claim, unless a process was killed while it deleted the volume, or version 0.1.0
    /// wrote the record.
    ///
    /// NFS requests for a directory at the top of the share: OPEN and WRITE for the record, LINK twice, and GETATTR to see that no volume is
    /// inside. If any volume is inside a directory, there is also a LOOKUP.
    pub fn add(&self, key: &VolumeKey, record: &Record) -> Result<Added> {
        self.add_unless(key, record, |held| self.overlap_of(&held.record.sub_dir, &held.key))
    }

    /// As [`Self::add`], for a volume whose directory the caller makes afterwards with mkdir(2). That fails if there is a volume inside,
    /// and the caller then calls [`Self::inside`]. Whoever makes a volume inside calls [`Self::around`] after it has seen or made the
    /// directories above. So one of the two notices the other. NFS requests: OPEN, WRITE, and LINK twice.
    pub fn add_for_mkdir(&self, key: &VolumeKey, record: &Record) -> Result<Added> {
        self.add_unless(key, record, |held| self.around(&held.record.sub_dir, &held.key))
    }

    fn add_unless(
        &self,
        key: &VolumeKey,
        record: &Record,
        overlap: impl FnOnce(&HeldRecord) -> Result<Option<String>>,
    ) -> Result<Added> {
        let (draft, file) = self.write_draft(key, record)?;
        let held = HeldRecord { key: key.clone(), record: record.clone(), file, draft: Some(draft) };
        let added = self.add_names(&held, overlap);
        match added {
            Ok(None) => Ok(Added::Made(Box::new(held))),
            Ok(Some(other)) => self.keep(&held).map(|()| other),
            Err(reason) => Err(reason.with_cleanup(self.keep(&held))),
        }
    }

    /// Links the draft of a record to its names. Returns `None` if that succeeds.
    fn add_names(
        &self,
        held: &HeldRecord,
        overlap: impl FnOnce(&HeldRecord) -> Result<Option<String>>,
    ) -> Result<Option<Added>> {
        let Some(draft) = &held.draft else { return Ok(None) };
        if let Some((key, owner)) = self.claim_from(held, draft.dir(), draft.name())? {
            return Ok(Some(if key == held.key { Added::Exists } else { Added::Overlaps(owner) }));
        }
        if let Err(error) = draft.dir().link(draft.name(), &self.volumes, file_of(&held.key)) {
            // After an error the link may exist nevertheless, because the reply to a first request may be lost.
            if !held.is_current()? {
                self.take_names(held, true, false, || Ok(true))?;
                return if error.is_taken() { Ok(Some(Added::Exists)) } else { Err(error.into()) };
            }
        }
        match overlap(held)? {
            None => Ok(None),
            Some(owner) => {
                self.take_names(held, true, true, || Ok(true))?;
                Ok(Some(Added::Overlaps(owner)))
            }
        }
    }

    /// Claims the directory of a record whose file has the name `name` in `dir`.
    pub(super) fn claim_from(
        &self,
        held: &HeldRecord,
        dir: &Dir,
        name: &str,
    ) -> Result<Option<(VolumeKey, String)>> {
        let (claims, claim) = (self.kept_part(CLAIMS)?, claim_file(held.record.sub_dir.as_str()));
        let mut attempts = ATTEMPTS;
        while let Err(error) = dir.link(name, &claims, &claim) {
            let Some(other) = hold_in(&claims, &claim, &held.key)? else {
                attempts -= 1;
                if attempts == 0 || !error.is_taken() {
                    return Err(error.into());
                }
                continue;
            };
            if other.file.inode() == held.file.inode() {
                break;
            }
            if let Some(owner) = self.owner_by(&other)? {
                return Ok(Some((VolumeKey::of_name(&other.record.name), owner)));
            }
            // Another process has claimed the path for this same volume and has not written the record yet. It may have been killed. The
            // record is written for it: only one process succeeds, and all of them get the same file.
            let key = VolumeKey::of_name(&other.record.name);
            if key == held.key && held.draft.is_some() {
                return match claims.link(&claim, &self.volumes, file_of(&key)) {
                    Err(error) if !error.is_taken() => Err(error.into()),
                    _ => Ok(Some((key, String::new()))),
                };
            }
            // If the file has another name beside the claim, a process is creating or removing the volume now, or was killed while it did.
            if attempts == 0 || other.file.links_at_first() >= other.names() {
                return Err(busy(held));
            }
            attempts -= 1;
            self.free(&claims, &claim, &other)?;
        }
        for parent in parents_of(&held.record.sub_dir) {
            let inside = self.kept_part(INSIDE)?.open_or_make_dir(hash_of(parent), 0o700)?;
            if let Err(error) = dir.link(name, &inside, &claim) {
                let other = hold_in(&inside, &claim, &held.key)?;
                match other {
                    Some(other) if other.file.inode() == held.file.inode() => {}
                    // The path belongs to this volume, so an earlier volume has left this name.
                    Some(_) if error.is_taken() => {
                        inside.remove_file(&claim)?;
                        dir.link(name, &inside, &claim)?;
                    }
                    _ => return Err(error.into()),
                }
            }
        }
        Ok(None)
    }

    /// Removes a claim whose volume has no record. The claim is first moved aside, and put back if it is another one, because the process may
    /// have stopped between the check and this.
    pub(super) fn free(&self, claims: &Dir, claim: &str, dead: &HeldRecord) -> Result<()> {
        let aside = self.aside_of_claim(dead)?;
        match claims.rename(claim, aside.dir(), aside.name()) {
            Err(error) if error.is_not_found() => return Ok(()),
            moved => moved?,
        }
        // The list of names tells what was moved, because the client may have cached what the name meant before.
        aside.dir().fresh()?;
        let entries = aside.dir().entries(usize::MAX)?;
        let moved = entries.iter().find(|entry| entry.name == aside.name()).map(|entry| entry.inode);
        if moved == Some(dead.file.inode()) {
            return aside.remove_file();
        }
        Ok(aside.dir().rename(aside.name(), claims, claim)?)
    }

    /// Claims the paths of all records of version 0.1.0. Reads all records once on each share. If a record cannot be read, this is an error,
    /// because the record could name any directory.
    pub fn complete_claims(&self) -> Result<()> {
        if self.claims_complete.load(Ordering::SeqCst) {
            return Ok(());
        }
        let claims = self.kept_part(CLAIMS)?;
        if claims.fresh_entry(COMPLETE)?.is_some() {
            self.claims_complete.store(true, Ordering::SeqCst);
            return Ok(());
        }
        for key in self.keys(None, usize::MAX)? {
            let Some(held) = self.hold(&key)? else { continue };
            if let Some(owner) = self.claim(&held)? {
                tracing::warn!(volume = %key, owner, "two volumes have one directory");
            }
        }
        match claims.create_file(COMPLETE, b"") {
            Err(error) if !error.is_taken() => return Err(error.into()),
            _ => self.claims_complete.store(true, Ordering::SeqCst),
        }
        Ok(())
    }
}
