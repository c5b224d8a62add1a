//! Inodes with several names, within constant memory: the first copy of one gets a second name in
//! [`CopyRequest::links`](super::CopyRequest), by which the others find it.

use std::ffi::OsStr;

use nix::errno::Errno;

use super::failure::Outcome;
use super::position::Position;
use super::state::{CopyState, LockKey};
use crate::linux::dir::attributes::Metadata;

/// Links the copy of the inode to `name`, or has `make` make that copy. Returns whether it was made.
pub(super) fn copy(
    run: &CopyState,
    place: &Position,
    name: &OsStr,
    metadata: &Metadata,
    make: impl FnOnce() -> Outcome,
) -> Outcome<bool> {
    let links = run.order.links;
    let key = key(metadata);
    let _turn = run.busy.take(LockKey::Inode(key.clone()));
    run.check_cancelled()?;
    let mut linked = links.link(&key, &place.to, name);
    if linked.as_ref().is_err_and(crate::linux::error::SysError::is_taken) {
        run.move_away(&place.to, name)?;
        linked = links.link(&key, &place.to, name);
    }
    match linked {
        Ok(()) => return Ok(false),
        Err(error) if error.is_not_found() => {}
        // This copy has as many names as the file system allows: the next one is another file.
        Err(error) if error.errno() == Some(Errno::EMLINK) => links.remove_file(&key)?,
        Err(error) => return Err(error.into()),
    }
    make()?;
    place.to.link(name, links, &key)?;
    Ok(true)
}

/// The time and the size are in it so that an inode number that was given to another file meanwhile, or a file that was
/// changed between two of its names, makes a separate copy and no wrong one.
fn key(metadata: &Metadata) -> String {
    let ((major, minor), modified) = (metadata.device, metadata.attributes.mtime);
    format!(
        "{major:x}.{minor:x}.{:x}.{:x}.{:x}.{:x}",
        metadata.inode, metadata.size, modified.seconds, modified.nanoseconds
    )
}
