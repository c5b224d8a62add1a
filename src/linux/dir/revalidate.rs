//! Opening a directory as the server has it now, and not as an NFS client remembers it.

use std::ffi::OsStr;
use std::path::Path;

use super::Dir;
use super::attributes::{Freshness, Metadata};
use crate::linux::error::Result;

/// Opens the directory `path` below `top`, every name in it looked up anew.
///
/// An NFS client believes for up to a minute (`acdirmax`, nfs(5)) that a directory has not changed, and so what its names
/// stand for. Asking for the attributes of each directory on the way tells it better: one GETATTR a component, and a
/// LOOKUP where something has changed.
pub fn open_dir(top: &Dir, path: &Path) -> Result<Dir> {
    let mut dir = top.open_dir(".")?.with_label(top.label());
    for component in path {
        Metadata::of(&dir, Freshness::Now).map_err(|errno| dir.error("stat", OsStr::new("."), errno))?;
        dir = dir.open_dir(component)?;
    }
    Ok(dir)
}
