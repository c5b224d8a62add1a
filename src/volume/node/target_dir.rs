//! The directory at a target path, below the mount of the volume.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::linux::SysError;

use crate::volume::error::{Error, Result};

/// The mode of a target directory while nothing is mounted on it. Pods see the mode of the volume.
const TARGET_MODE: u32 = 0o750;

/// Makes the target directory. Returns `false` if it was there and empty. A directory with files in it is refused: they were
/// written while no volume was mounted, and a mount would hide them.
pub(super) fn make_target(target: &Path) -> Result<bool> {
    let error = |op| move |e: io::Error| SysError::new(op, target.display().to_string(), e);
    match std::fs::DirBuilder::new().mode(TARGET_MODE).create(target) {
        Ok(()) => return Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(error("mkdir")(e).into()),
    }
    if !target.symlink_metadata().map_err(error("stat"))?.is_dir() {
        return Err(Error::Precondition(format!("{} is not a directory", target.display())));
    }
    if target.read_dir().map_err(error("read"))?.next().is_some() {
        return Err(Error::Precondition(format!(
            "{} contains files although nothing is mounted there. They were written while the volume was not mounted: move \
             them to where they belong",
            target.display()
        )));
    }
    Ok(false)
}

/// Removes the empty target directory, if it is there.
pub(super) fn remove_target(target: &Path) -> Result<()> {
    match std::fs::remove_dir(target) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(SysError::new("rmdir", target.display().to_string(), e).into())
        }
        _ => Ok(()),
    }
}
