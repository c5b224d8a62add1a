//! The directories of volumes on a share, and the directories above them.

use crate::linux::Dir;
use crate::volume::error::{Result, refuse_unsafe, unsafe_path};
use crate::volume::name::sub_dir::SubDir;

/// The mode of directories above the directory of a volume. Pods never see them, because the volume's own directory is bind-mounted.
const PARENT_MODE: u32 = 0o755;

/// The parent directory of a volume's directory, if both exist.
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

/// The directory of a volume that exists.
pub(in crate::volume) struct Found {
    /// Its parent directory.
    pub(in crate::volume) parent: Dir,
    /// A handle of the directory itself. It stays the same directory, whatever gets its name or its inode number later.
    pub(in crate::volume) dir: Dir,
    /// Its inode number.
    pub(in crate::volume) inode: u64,
}

/// The directory of a volume, looked up on the server and not in the client's cache. NFS requests: GETATTR and LOOKUP.
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

/// Opens the directory `path` below the share. Creates the components that do not exist.
pub(in crate::volume) fn make_parents(share: &Dir, path: &str) -> Result<Dir> {
    let mut components = path.split('/');
    let first = components.next().expect("splitting gives at least one");
    let mut dir = share.open_or_make_dir(first, PARENT_MODE).map_err(refuse_unsafe)?;
    for component in components {
        dir = dir.open_or_make_dir(component, PARENT_MODE).map_err(refuse_unsafe)?;
    }
    Ok(dir)
}

/// Fails unless the entry `name` is a directory, and not a link to one.
pub(in crate::volume) fn require_directory(parent: &Dir, name: &str) -> Result<()> {
    match parent.is_dir(name)? {
        Some(true) => Ok(()),
        _ => Err(unsafe_path(&format!("{}/{name}", parent.label()))),
    }
}

/// Removes the directories above a volume that are empty now. This uses rmdir(2), which fails for a directory that has entries.
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
