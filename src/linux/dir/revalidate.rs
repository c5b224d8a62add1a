//! Opening a directory as it is on the server now, not as the NFS client has cached it.

use std::ffi::OsStr;
use std::path::Path;

use super::handle::Dir;
use super::metadata::{Freshness, Metadata};
use crate::linux::error::Result;

/// Opens the directory `path` below `top`. Looks up every component on the server.
///
/// An NFS client may assume for up to a minute (`acdirmax`, nfs(5)) that a directory has not changed, and that its
/// names still mean the same entries. Asking the server for the attributes of each directory corrects that. The cost
/// is one GETATTR for each component, and one LOOKUP for each component that has changed.
pub fn open_dir(top: &Dir, path: &Path) -> Result<Dir> {
    let mut dir = top.open_dir(".")?.with_label(top.label());
    for component in path {
        Metadata::of(&dir, Freshness::Now).map_err(|errno| dir.error("stat", OsStr::new("."), errno))?;
        dir = dir.open_dir(component)?;
    }
    Ok(dir)
}
