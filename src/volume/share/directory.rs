//! The directories of volumes on a share.

use crate::linux::Dir;
use crate::volume::error::{Error, Result, refuse_unsafe, unsafe_path};
use crate::volume::name::sub_dir::SubDir;

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
#[derive(Debug)]
pub(in crate::volume) struct Found {
    /// Its parent directory.
    pub(in crate::volume) parent: Dir,
    /// A handle of the directory itself. It stays the same directory, whatever gets its name or its inode number later.
    pub(in crate::volume) dir: Dir,
    /// Its inode number.
    pub(in crate::volume) inode: u64,
}

/// The directory of a volume, looked up on the server and not in the client's cache. NFS requests: GETATTR, and LOOKUP
/// if the parent has changed or the client does not know the name.
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

/// Fails unless the entry `name` is a directory, and not a link to one.
pub(in crate::volume) fn require_directory(parent: &Dir, name: &str) -> Result<()> {
    match parent.is_dir(name)? {
        Some(true) => Ok(()),
        _ => Err(unsafe_path(&format!("{}/{name}", parent.label()))),
    }
}

/// Refuses a directory that is not on the share's own file system. A volume is deleted by a rename to the state directory, which
/// is not possible between file systems, and the capacity of the share would not be that of the volume. `found` says
/// whether the directory itself exists. If not, the directory that it will be made in decides. Asks the server only for the
/// parents that a template has made.
pub(in crate::volume) fn require_own_file_system(share: &Dir, sub_dir: &SubDir, found: bool) -> Result<()> {
    let mut next = if found { Some(sub_dir.as_str()) } else { sub_dir.split().0 };
    while let Some(path) = next {
        match share.open_place(path) {
            Err(error) if error.is_not_found() => next = path.rsplit_once('/').map(|(parent, _)| parent),
            opened => {
                let dir = opened.map_err(refuse_unsafe)?;
                return if dir.is_on_file_system_of(share)? {
                    Ok(())
                } else {
                    Err(other_file_system(share, path))
                };
            }
        }
    }
    Ok(())
}

/// The error for a directory that is not on the share's own file system.
pub(in crate::volume) fn other_file_system(share: &Dir, path: &str) -> Error {
    let share = share.label();
    Error::Precondition(format!(
        "{share}/{path} is not on the file system of {share}, so no volume there could be deleted or have its own capacity: make \
         the other file system an export of its own, or choose another subDir"
    ))
}
