//! Making the directory of a new volume, which has its record already.

use crate::linux::Dir;

use crate::volume::error::{Error, Result};
use crate::volume::policy::parameters::Ownership;
use crate::volume::share::claims::HeldRecord;
use crate::volume::share::directory::require_directory;
use crate::volume::share::state_dir::StateDir;

/// What came of making the directory of a volume.
pub(super) enum Made {
    /// It was made.
    Now,
    /// It exists, and belongs to the volume.
    Before,
    /// It cannot be made: there is a directory of somebody else, or another volume is around it or inside. The text says which.
    ByOthers(Option<String>),
    /// A volume is inside the directory, and the directory may be that of this volume nevertheless: an earlier version made such volumes.
    Around(String),
}

/// Whether one mkdir(2) gives the directory what it needs. The owner and the bits setuid, setgid and sticky need further steps.
pub(super) fn is_made_by_mkdir(ownership: &Ownership) -> bool {
    ownership.uid.is_none() && ownership.gid.is_none() && ownership.mode & 0o7000 == 0
}

/// Creates the directory of a volume with its owner and mode, unless it exists. A directory that needs more than a mode is created in the
/// directory of this process and moved into place when it is complete. So owner and mode are set once, before anybody uses the directory.
///
/// NFS requests for a directory at the top of the share that needs only a mode: CREATE. For one below others also those of
/// [`StateDir::make_parents`] and [`StateDir::around`].
pub(super) fn make_directory(share: &Dir, state: &StateDir, held: &HeldRecord) -> Result<Made> {
    let ownership = &held.record.ownership;
    let (parent, name) = held.record.sub_dir.split();
    let made_parent = parent.map(|parent| state.make_parents(parent)).transpose()?;
    let parent = made_parent.as_ref().unwrap_or(share);
    if made_parent.is_some() {
        if !held.is_new() && parent.is_dir(name)?.is_some() {
            return whose(parent, name, state, held);
        }
        // The directories above exist now. So if one of them is a volume, it has its record (`StateDir::add_for_mkdir`).
        if let Some(owner) = state.around(&held.record.sub_dir, &held.key)? {
            return Ok(Made::ByOthers(Some(owner)));
        }
    }
    if is_made_by_mkdir(ownership) {
        return match parent.make_dir(name, ownership.mode) {
            Err(error) if error.is_taken() => whose(parent, name, state, held),
            made => Ok(made.map(|()| Made::Now)?),
        };
    }
    // Without this check, rename(2) would replace an empty directory.
    if parent.fresh_entry(name)?.is_some() {
        return whose(parent, name, state, held);
    }
    let (draft, dir) = state.draft_dir(held.key.as_str(), 0o700)?;
    let made = dir
        .set_owner(ownership.uid, ownership.gid)
        .and_then(|()| dir.set_mode(ownership.mode))
        .map_err(Error::from)
        .and_then(|()| draft.place(parent, name));
    match made {
        Ok(()) => Ok(Made::Now),
        Err(error) if error.is_not_empty() => draft.remove().and_then(|()| whose(parent, name, state, held)),
        Err(reason) => Err(reason.with_cleanup(draft.remove())),
    }
}

/// Whose directory it is that exists already. It is that of the volume if the reply to a first mkdir(2) was lost, or if another
/// controller was asked for the same volume. It may also be an empty one that a controller has made for a volume that was deleted meanwhile.
/// But if it has content and nothing about it has changed since the record was written, somebody else has made it.
fn whose(parent: &Dir, name: &str, state: &StateDir, held: &HeldRecord) -> Result<Made> {
    let record = &held.record;
    // A directory that the volume takes over was there before.
    if !record.found {
        if let Some(owner) = state.inside(&record.sub_dir, &held.key)? {
            // A controller may have been killed before it made the directory, while another one made it for the volume inside.
            let is_others = held.is_new() || state.has_made_above(&record.sub_dir)?;
            return Ok(if is_others { Made::ByOthers(Some(owner)) } else { Made::Around(owner) });
        }
        // Both times are of the server's clock.
        let is_older = held.is_new() && {
            let written = held.written()?;
            parent.fresh_entry(name)?.is_some_and(|there| there.ctime < written)
        };
        if is_older && !parent.open_dir(name)?.entries(1)?.is_empty() {
            return Ok(Made::ByOthers(None));
        }
    }
    require_directory(parent, name).map(|()| Made::Before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::handle::VolumeKey;
    use crate::volume::name::sub_dir::SubDir;
    use crate::volume::share::claims::Added;
    use crate::volume::share::record::Record;
    use crate::volume::share::state_dir::TestShare;

    impl TestShare {
        fn add_for_mkdir(&self, name: &str, sub_dir: &str) -> HeldRecord {
            let record = Record::new(name.to_owned(), SubDir::parse(sub_dir).unwrap());
            match self.state.add_for_mkdir(&VolumeKey::of_name(name), &record).unwrap() {
                Added::Made(held) => *held,
                added => panic!("{name}: {added:?}"),
            }
        }

        fn make(&self, held: &HeldRecord) -> Made {
            make_directory(&self.dir, &self.state, held).unwrap()
        }
    }

    #[test]
    fn a_directory_that_somebody_made_before_the_record_is_not_the_volumes() {
        let share = TestShare::new();
        std::fs::create_dir_all(share.temporary.path().join("v/data")).unwrap();
        // The clock of a file system advances only every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(50));
        // With and without a draft that is renamed into place.
        for mode in [0o770, 0o2770] {
            let mut held = share.add_for_mkdir("v", "v");
            held.record.ownership.mode = mode;
            assert!(matches!(share.make(&held), Made::ByOthers(None)), "{mode:o}");
            share.state.release(&held).unwrap();
        }
        // The reply to a first mkdir(2) may be lost.
        let held = share.add_for_mkdir("w", "w");
        assert!(matches!(share.make(&held), Made::Now));
        assert!(matches!(share.make(&held), Made::Before));
    }

    #[test]
    fn of_a_volume_and_one_inside_it_the_one_that_comes_later_notices_in_either_order() {
        for outer_first in [true, false] {
            let share = TestShare::new();
            // Both have their records before either has its directory, and neither has noticed the other one so far.
            let (inner, outer) =
                (share.add_for_mkdir("inner", "ns/claim"), share.add_for_mkdir("outer", "ns"));
            let (second, other) = if outer_first {
                assert!(matches!(share.make(&outer), Made::Now));
                (&inner, "\"outer\"")
            } else {
                share.state.make_parents("ns").unwrap();
                (&outer, "\"inner\"")
            };
            let Made::ByOthers(Some(owner)) = share.make(second) else {
                panic!("outer first: {outer_first}")
            };
            assert!(owner.contains(other), "{owner}");
        }
    }

    #[test]
    fn a_volume_whose_controller_was_killed_does_not_get_the_directory_that_was_made_for_one_inside() {
        for is_noted in [true, false] {
            let share = TestShare::new();
            let inner = share.add_for_mkdir("inner", "ns/claim");
            assert!(matches!(share.make(&inner), Made::Now));
            // The controller of the outer one has written its record before, and is killed before it makes the directory.
            let outer = share.add_for_mkdir("outer", "ns");
            share.state.keep(&outer).unwrap();
            if !is_noted {
                // An earlier version did not note what it made.
                let inside = share.temporary.path().join(".nfs-subdir-csi/inside");
                for folder in inside.read_dir().unwrap() {
                    for entry in folder.unwrap().path().read_dir().unwrap() {
                        let path = entry.unwrap().path();
                        if path.file_name().unwrap().to_string_lossy().starts_with(".made") {
                            std::fs::remove_file(path).unwrap();
                        }
                    }
                }
            }
            let retry = share.state.hold(&outer.key).unwrap().unwrap();
            match (share.make(&retry), is_noted) {
                (Made::ByOthers(Some(owner)), true) | (Made::Around(owner), false) => {
                    assert!(owner.contains("\"inner\""), "{owner}");
                }
                _ => panic!("noted: {is_noted}"),
            }
        }
    }
}
