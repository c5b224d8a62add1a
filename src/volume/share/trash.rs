//! What was deleted and is still kept, for the commands of operators.

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::on_delete::OnDelete;
use crate::volume::policy::parameters::Ownership;
use crate::volume::share::claims::Added;
use crate::volume::share::deleted::Terms;
use crate::volume::share::directory::find_now;
use crate::volume::share::left::Round;
use crate::volume::share::reaper;
use crate::volume::share::record::Record;
use crate::volume::share::state_dir::StateDir;

/// A deleted volume or snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Its name in the folder of deleted directories. No other one ever has the same name.
    pub name: String,
    /// The key that it had.
    pub key: VolumeKey,
    /// Whether it was a volume. Otherwise it was a snapshot, a group of them, or an ephemeral volume.
    pub is_volume: bool,
    /// When it was deleted, in seconds since 1970 by the clock of the server.
    pub deleted: i64,
    /// When it may be removed; 0 for at once.
    pub due: i64,
}

impl StateDir {
    /// Everything that was deleted and is still kept, in the order of the file system. NFS requests: the READDIRs of the folder, and two
    /// GETATTRs for each entry.
    pub fn all_deleted(&self) -> Result<Vec<Deleted>> {
        let Some(deleted) = self.existing_deleted()? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for entry in deleted.entries(usize::MAX)? {
            let Some(name) = entry.name.to_str() else { continue };
            let Some((key, terms)) = parse(name) else { continue };
            // Somebody may have removed it meanwhile.
            let Some(status) = deleted.fresh_entry(name)? else { continue };
            all.push(Deleted {
                name: name.to_owned(),
                key,
                is_volume: !terms.claim.is_empty(),
                deleted: status.ctime.seconds,
                due: terms.due,
            });
        }
        Ok(all)
    }

    /// Makes a deleted volume a volume again, with the directory `sub_dir` of the share. Its record says `retain`, because what was restored
    /// by hand is not to be lost by mistake. The record is written before the directory is moved: if this is interrupted, it can be done
    /// again. NFS requests: those of [`Self::add`], and OPEN, GETATTR and RENAME.
    pub fn restore(
        &self,
        name: &str,
        sub_dir: &SubDir,
        capacity_bytes: u64,
        installation: Option<String>,
    ) -> Result<(VolumeKey, Record)> {
        let gone =
            || Error::NotFound(format!("{name:?} is not in the trash: it may have been removed meanwhile"));
        let deleted = self.existing_deleted()?.ok_or_else(gone)?;
        let (key, terms) = parse(name).ok_or_else(gone)?;
        let found = match deleted.open_place(name) {
            Err(error) if error.is_not_found() => return Err(gone()),
            opened => opened?,
        };
        if terms.claim.is_empty() {
            return Err(Error::Precondition(format!(
                "{name:?} was not a volume, and only volumes can be restored"
            )));
        }
        if terms.inode != 0 && terms.inode != found.inode()? {
            return Err(Error::Precondition(format!(
                "{name:?} is not the directory that was to be deleted; the driver puts it back by itself"
            )));
        }
        self.complete_claims()?;
        let (uid, gid, mode) = found.ownership()?;
        let record = Record {
            capacity_bytes,
            on_delete: OnDelete::Retain,
            ownership: Ownership { mode: mode & 0o7777, uid: Some(uid), gid: Some(gid) },
            found: true,
            installation,
            ..Record::new(key.to_string(), sub_dir.clone())
        };
        let taken = |owner: &str| Error::AlreadyExists(format!("{sub_dir} cannot be its directory: {owner}"));
        if find_now(&self.share, sub_dir)?.is_some() {
            return Err(taken("it exists; choose another one with --directory"));
        }
        let held = match self.add(&key, &record)? {
            Added::Made(held) => *held,
            Added::Overlaps(owner) => return Err(taken(&owner)),
            Added::Exists => {
                let held = self.hold(&key)?.ok_or_else(gone)?;
                // An earlier attempt was interrupted.
                if held.record != record {
                    let message = format!("there is a volume with the key {key}, so this one cannot get it");
                    return Err(Error::AlreadyExists(message));
                }
                held
            }
        };
        let (parent, last) = sub_dir.split();
        let moved = || -> Result<()> {
            let above = parent.map(|parent| self.make_parents(parent)).transpose()?;
            match deleted.rename(name, above.as_ref().unwrap_or(&self.share), last) {
                Err(error) if error.is_not_found() => Err(gone()),
                moved => Ok(moved?),
            }
        };
        match moved() {
            Ok(()) => self.keep(&held).map(|()| (key, record)),
            Err(reason) => Err(reason.with_cleanup(self.release(&held))),
        }
    }

    /// Removes a deleted directory now. Returns `false` if it does not exist any more.
    pub fn remove_deleted(&self, name: &str) -> Result<bool> {
        let Some(deleted) = self.existing_deleted()? else { return Ok(false) };
        let Some((_, terms)) = parse(name) else { return Ok(false) };
        let inode = match deleted.open_place(name) {
            Err(error) if error.is_not_found() => return Ok(false),
            opened => opened?.inode()?,
        };
        let mut round = Round::default();
        reaper::remove_entry(self, &deleted, name, inode, &terms, &mut round)?;
        match round.failures.len() {
            0 => Ok(true),
            _ => Err(Error::Several(round.failures)),
        }
    }
}

/// The key in the name of an entry, and what else the name says.
fn parse(name: &str) -> Option<(VolumeKey, Terms)> {
    let terms = Terms::parse(name)?;
    // The key is what stands before the five other parts.
    let key = name.rsplitn(6, '.').nth(5)?;
    Some((VolumeKey::parse(key)?, terms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::Dir;
    use crate::volume::policy::settings::ExportPolicy;
    use std::path::Path;
    use std::time::Duration;

    const KEPT: ExportPolicy = ExportPolicy {
        trash_retention: Duration::from_hours(1),
        capacity: crate::volume::policy::settings::CapacityPolicy::Thin,
        quota: crate::volume::policy::settings::QuotaPolicy::None,
        removals_per_second: None,
    };

    /// A share with a volume that was deleted, and the name in the trash.
    fn deleted(top: &Path) -> (StateDir, String) {
        let share = Dir::open(top).unwrap();
        let state = StateDir::create(&share).unwrap();
        let (key, sub_dir) = (VolumeKey::of_name("v.1"), SubDir::parse("ns/v").unwrap());
        let Added::Made(held) = state.add(&key, &Record::new("v.1".to_owned(), sub_dir.clone())).unwrap()
        else {
            panic!()
        };
        state.make_parents("ns").unwrap();
        std::fs::create_dir(top.join("ns/v")).unwrap();
        std::fs::write(top.join("ns/v/file"), "content").unwrap();
        let found = find_now(&share, &sub_dir).unwrap().unwrap();
        state.keep(&held).unwrap();
        let held = state.hold(&key).unwrap().unwrap();
        let place = state.place_in_deleted(&held, &found, KEPT).unwrap();
        let removal = state.take_away(held, Some((found, place))).unwrap();
        state.complete(&removal).unwrap();
        let mut names = Vec::new();
        for entry in state.all_deleted().unwrap() {
            assert!(entry.is_volume && entry.due > entry.deleted && entry.key.as_str() == "v.1");
            names.push(entry.name);
        }
        (state, names.pop().unwrap())
    }

    #[test]
    fn a_deleted_volume_becomes_a_volume_again_with_its_files() {
        let temporary = tempfile::tempdir().unwrap();
        let (state, name) = deleted(temporary.path());
        let sub_dir = SubDir::parse("back/v").unwrap();
        let (key, record) = state.restore(&name, &sub_dir, 7, None).unwrap();
        assert_eq!(std::fs::read(temporary.path().join("back/v/file")).unwrap(), b"content");
        let read = state.read(&key).unwrap().unwrap();
        assert_eq!((read.on_delete, read.capacity_bytes, &read.sub_dir), (OnDelete::Retain, 7, &sub_dir));
        assert_eq!(read, record);
        let again = state.restore(&name, &sub_dir, 7, None).unwrap_err();
        assert!(matches!(again, Error::NotFound(_)), "{again}");
    }

    #[test]
    fn a_directory_that_exists_is_not_covered_and_leaves_no_record() {
        let temporary = tempfile::tempdir().unwrap();
        let (state, name) = deleted(temporary.path());
        std::fs::create_dir(temporary.path().join("taken")).unwrap();
        let error = state.restore(&name, &SubDir::parse("taken").unwrap(), 0, None).unwrap_err();
        assert!(matches!(error, Error::AlreadyExists(_)), "{error}");
        assert!(state.read(&VolumeKey::of_name("v.1")).unwrap().is_none());
        assert!(state.remove_deleted(&name).unwrap());
        assert!(!state.remove_deleted(&name).unwrap());
        assert!(!state.remove_deleted("../volumes").is_ok_and(|removed| removed));
        assert_eq!(state.all_deleted().unwrap(), []);
    }
}
