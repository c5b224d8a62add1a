//! The directories of volumes on a share, and those above them.

use crate::linux::Dir;
use crate::volume::error::{Result, refuse_unsafe, unsafe_path};
use crate::volume::name::sub_dir::SubDir;

/// Mode of directories above a volume's own, where a template asks for them. Pods never walk them: a volume is
/// bound by its own handle.
const PARENT_MODE: u32 = 0o755;

/// The directory that holds a volume's, if it is there with the volume's own in it.
pub(in crate::volume) fn find_directory(share: &Dir, sub_dir: &SubDir) -> Result<Option<Dir>> {
    let (parent, name) = sub_dir.split();
    let parent = match share.open_place(parent.unwrap_or(".")) {
        Err(error) if error.is_not_found() => return Ok(None),
        result => result.map_err(refuse_unsafe)?,
    };
    match parent.is_dir(name)? {
        None => Ok(None),
        Some(true) => Ok(Some(parent)),
        Some(false) => Err(unsafe_path(&format!("{}/{name}", parent.label()))),
    }
}

/// A volume's directory.
pub(in crate::volume) struct Found {
    /// The directory that holds it.
    pub(in crate::volume) parent: Dir,
    /// It itself: a handle that stays its own, whatever gets its name or its inode number.
    pub(in crate::volume) dir: Dir,
    /// Its inode number.
    pub(in crate::volume) inode: u64,
}

/// The directory of a volume as it is on the server now. NFS requests: GETATTR and LOOKUP.
pub(in crate::volume) fn find_now(share: &Dir, sub_dir: &SubDir) -> Result<Option<Found>> {
    let (parent, name) = sub_dir.split();
    let parent = match share.open_place(parent.unwrap_or(".")) {
        Err(error) if error.is_not_found() => return Ok(None),
        result => result.map_err(refuse_unsafe)?,
    };
    parent.fresh()?;
    match parent.open_place(name) {
        Err(error) if error.is_not_found() => Ok(None),
        opened => {
            let dir = opened.map_err(refuse_unsafe)?;
            Ok(Some(Found { inode: dir.inode()?, dir, parent }))
        }
    }
}

pub(in crate::volume) fn make_parents(share: &Dir, path: &str) -> Result<Dir> {
    let mut components = path.split('/');
    let first = components.next().expect("splitting gives at least one");
    let mut dir = share.open_or_make_dir(first, PARENT_MODE).map_err(refuse_unsafe)?;
    for component in components {
        dir = dir.open_or_make_dir(component, PARENT_MODE).map_err(refuse_unsafe)?;
    }
    Ok(dir)
}

pub(in crate::volume) fn require_directory(parent: &Dir, name: &str) -> Result<()> {
    match parent.is_dir(name)? {
        Some(true) => Ok(()),
        _ => Err(unsafe_path(&format!("{}/{name}", parent.label()))),
    }
}

/// Removes the directories above a volume that a template made and that are empty now: with rmdir(2), which
/// refuses one that is not.
pub(in crate::volume) fn remove_empty_parents(share: &Dir, sub_dir: &SubDir) {
    let mut path = sub_dir.split().0;
    while let Some(dir) = path {
        let (parent, name) = dir.rsplit_once('/').map_or((".", dir), |(parent, name)| (parent, name));
        if share.open_place(parent).and_then(|parent| parent.remove_dir(name)).is_err() {
            return;
        }
        path = (parent != ".").then_some(parent);
    }
}
