//! Files with several hard links, in constant memory. The first copy of an inode gets a second name in
//! [`CopyRequest::links`](super::CopyRequest). The other names are then linked to it.

use std::ffi::OsStr;

use nix::errno::Errno;

use super::failure::Outcome;
use super::position::Position;
use super::state::{CopyState, LockKey};
use crate::linux::dir::metadata::Metadata;
use crate::linux::error::SysError;

/// Links `name` to the existing copy of the inode, or calls `make` to create the copy. Returns whether it was created.
pub(super) fn copy(
    run: &CopyState,
    place: &Position,
    name: &OsStr,
    metadata: &Metadata,
    make: impl FnOnce() -> Outcome,
) -> Outcome<bool> {
    let links = run.request.links;
    let key = key(metadata);
    let _guard = run.locks.lock(LockKey::Inode(key.clone()));
    run.check_cancelled()?;
    let mut linked = links.link(&key, &place.to, name);
    if linked.as_ref().is_err_and(SysError::is_taken) {
        run.move_away(&place.to, name)?;
        linked = links.link(&key, &place.to, name);
    }
    match linked {
        Ok(()) => return Ok(false),
        Err(error) if error.is_not_found() => {}
        // The copy has as many hard links as the file system allows. The next name becomes a new file.
        Err(error) if error.errno() == Some(Errno::EMLINK) => links.remove_file(&key)?,
        Err(error) => return Err(error.into()),
    }
    make()?;
    place.to.link(name, links, &key)?;
    Ok(true)
}

/// The name of an inode's copy in the directory `links`. It contains size and mtime, so that the names become separate
/// copies if the inode number was reused or the file was changed between two of its names.
fn key(metadata: &Metadata) -> String {
    let ((major, minor), modified) = (metadata.device, metadata.attributes.mtime);
    format!(
        "{major:x}.{minor:x}.{:x}.{:x}.{:x}.{:x}",
        metadata.inode, metadata.size, modified.seconds, modified.nanoseconds
    )
}
