//! What steps have left in the directory of a process, because they failed or their process was killed: it is removed, kept or put back.

use std::ffi::OsStr;
use std::time::Duration;

use crate::linux::Dir;
use crate::linux::remove::Pace;

use crate::volume::error::{Error, Result};
use crate::volume::share::claims::{ASIDE, inodes_of};
use crate::volume::share::deleted::Terms;
use crate::volume::share::directory::{find_directory, find_now};
use crate::volume::share::process_dir::Draft;
use crate::volume::share::state_dir::StateDir;

/// One round of removals.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// How long the removal of one directory may take, if there is a limit.
    pub(super) turn: Option<Duration>,
    /// What could not be removed.
    pub(super) failures: Vec<Error>,
    /// Whether a removal takes longer than its turn, so that the next sweep goes on with it.
    pub(super) is_interrupted: bool,
}

/// Puts back a directory that was moved away instead of the one that was meant. This happens when a process stops for a long time just
/// before it moves a directory, and is killed before it can put the directory back itself.
pub(super) fn put_back(state: &StateDir, deleted: &Dir, name: &str, terms: &Terms) -> Result<()> {
    let Some(sub_dir) = state.path_of_claim(&terms.claim)? else {
        let path = format!("{}/{name}", deleted.label());
        return Err(Error::Precondition(format!(
            "{path}: this is not the directory that was to be deleted, and no volume has its path, so the driver does not remove \
             it; look at it, and move or remove it by hand"
        )));
    };
    if find_directory(&state.share, &sub_dir)?.is_some() {
        return Ok(());
    }
    let (parent, last) = sub_dir.split();
    let parent = state.share.open_place(parent.unwrap_or("."))?;
    tracing::warn!(share = state.label(), directory = %sub_dir, "put back a directory that was moved away by mistake");
    Ok(deleted.rename(name, &parent, last)?)
}

/// Removes what earlier steps of this process have left in its directories.
pub(super) fn sweep_own(state: &StateDir, round: &mut Round) -> Result<()> {
    let mut left = Vec::new();
    for process in state.own_processes() {
        left.extend(process.left_behind()?.into_iter().map(|name| process.hold(name)));
    }
    remove_left(state, left, round);
    Ok(())
}

/// Removes entries that were left by steps that were not completed.
pub(super) fn remove_left(state: &StateDir, mut left: Vec<Draft>, round: &mut Round) {
    // The names of records come first, because they say whose a directory is.
    left.sort_by_key(|draft| !draft.name().starts_with(ASIDE));
    for draft in left {
        match is_to_be_removed(state, &draft) {
            Ok(true) => remove(state, &draft, round),
            Ok(false) => {}
            Err(error) => round.failures.push(error),
        }
    }
}

/// Whether an entry that was left is to be removed now. The directory of a volume may have been moved here by a deletion that was killed
/// before it had looked what it had moved. Then it gets its place back if it is another one. One that is to be kept for some time
/// goes to `deleted/`.
fn is_to_be_removed(state: &StateDir, draft: &Draft) -> Result<bool> {
    let Some(terms) = Terms::parse(draft.name()) else { return Ok(true) };
    if terms.inode != 0 {
        let Some(inode) = inodes_of(draft)?.get(OsStr::new(draft.name())).copied() else { return Ok(false) };
        if inode != terms.inode {
            return put_back(state, draft.dir(), draft.name(), &terms).map(|()| false);
        }
        // Another directory may have got the same inode number. Then it is that of a volume which has no directory now.
        if let Some(sub_dir) = state.path_of_claim(&terms.claim)?
            && find_now(&state.share, &sub_dir)?.is_none()
        {
            return Err(Error::Precondition(format!(
                "{}/{}: a volume has the path {sub_dir} and no directory there, so the driver does not remove this one until that \
                 volume is complete or deleted; if it is complete, this is its directory, and has to be moved to {sub_dir} by hand",
                draft.dir().label(),
                draft.name()
            )));
        }
    }
    if terms.due == 0 {
        return Ok(true);
    }
    match draft.dir().rename(draft.name(), &*state.deleted()?, draft.name()) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(false),
    }
}

pub(super) fn remove(state: &StateDir, draft: &Draft, round: &mut Round) {
    match state.give_back(draft) {
        Ok(false) => {}
        Ok(true) => return,
        // It is tried again before it is removed.
        Err(error) => return round.failures.push(error),
    }
    let pace = Terms::parse(draft.name()).and_then(|terms| terms.removals_per_second);
    let restored = if draft.name().starts_with(ASIDE) { state.restore_name(draft) } else { Ok(()) };
    let pace = Pace::new(pace).for_at_most(round.turn);
    let removed = restored.and_then(|()| draft.remove_at(&pace));
    round.is_interrupted |= pace.has_interrupted();
    match removed {
        Ok(()) if pace.has_interrupted() => {}
        Ok(()) => tracing::info!(share = %draft.dir().label(), name = draft.name(), "removed"),
        Err(error) => round.failures.push(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::handle::VolumeKey;
    use crate::volume::name::sub_dir::SubDir;
    use crate::volume::share::claims::{Added, hash_of};
    use crate::volume::share::record::Record;
    use crate::volume::share::state_dir::TestShare;

    impl TestShare {
        /// Whether everything could be removed.
        fn sweep(&self) -> bool {
            let mut round = Round::default();
            sweep_own(&self.state, &mut round).unwrap();
            round.failures.is_empty()
        }

        fn left(&self) -> usize {
            self.state.process().unwrap().left_behind().unwrap().len()
        }
    }

    #[test]
    fn what_this_process_left_behind_is_removed() {
        let share = TestShare::new();
        let draft = share.state.draft("left").unwrap();
        draft.make_dir(0o700).unwrap().make_dir("deep", 0o700).unwrap();
        drop(draft);
        assert!(share.sweep());
        assert_eq!(share.left(), 0);
    }

    #[test]
    fn a_directory_that_a_killed_deletion_has_moved_is_removed_kept_or_put_back() {
        let share = TestShare::new();
        let (path, key) = (SubDir::parse("claim").unwrap(), VolumeKey::of_name("v"));
        let at = |name: &str| share.temporary.path().join(name);
        // Moves the directory of the path to this process, as a deletion does that means the directory with this inode number.
        let leave = |due: i64, other: u64| {
            std::fs::create_dir(at("claim")).unwrap();
            let inode = share.dir.open_dir("claim").unwrap().inode().unwrap() + other;
            let terms = Terms { due, removals_per_second: None, inode, claim: hash_of(path.as_str()) };
            let draft = share.state.process().unwrap().hold(terms.name_of(&key));
            assert!(draft.take(&share.dir, "claim").unwrap());
        };
        leave(0, 0);
        assert!(share.sweep() && share.left() == 0);
        // In a hundred years.
        leave(4_900_000_000, 0);
        assert!(share.sweep() && share.left() == 0);
        assert_eq!(share.state.existing_deleted().unwrap().unwrap().entries(9).unwrap().len(), 1);
        // The path belongs to another volume. As long as it has no directory, this may be its directory.
        let Added::Made(next) = share.state.add(&key, &Record::new("v".to_owned(), path.clone())).unwrap()
        else {
            panic!()
        };
        share.state.keep(&next).unwrap();
        leave(0, 0);
        assert!(!share.sweep() && share.left() == 1);
        std::fs::create_dir(at("claim")).unwrap();
        assert!(share.sweep() && share.left() == 0 && at("claim").exists());
        std::fs::remove_dir(at("claim")).unwrap();
        // It is not the one that was meant.
        leave(0, 1);
        assert!(share.sweep() && share.left() == 0 && at("claim").exists());
    }
}
