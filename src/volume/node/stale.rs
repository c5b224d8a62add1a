//! Mounts of directories that the server does not know any more (`ESTALE`).

use std::ffi::OsStr;
use std::path::Path;

use crate::linux::mountinfo::Mount;
use crate::linux::{Dir, SysError};

use crate::volume::error::Error;

/// Whether the directory that is mounted at `target` is stale. NFS request: GETATTR.
pub(super) fn stale_mount(target: &Path) -> bool {
    Dir::open_mount(target).and_then(|dir| dir.fresh()).is_err_and(|error| error.is_stale())
}

/// What happened to the stale mount at `target`, and what to do. `source` is what is mounted there, if that is known.
pub(super) fn explain(target: &Path, source: Option<&OsStr>) -> String {
    let source = source.map_or(String::new(), |source| format!(": {}", source.to_string_lossy()));
    format!(
        "the server does not know the directory any more that is mounted at {}{source} (Stale file handle): it was removed, or the export \
         has moved, is not exported any more, or was exported with another fsid; restart the pod, and its volume is mounted anew",
        target.display()
    )
}

/// As [`explain`], for a mount in the table.
pub(super) fn explain_mount(mount: &Mount) -> String {
    explain(&mount.mount_point, Some(&mount.source))
}

/// The error of a request about a published volume. Everybody may ask what is asked here, also if the server squashes root.
pub(super) fn failed_at(mount: &Mount, error: SysError) -> Error {
    let path = format!("{}, mounted at {}", mount.source.to_string_lossy(), mount.mount_point.display());
    let error = SysError { path, ..error };
    if error.is_stale() {
        Error::Precondition(explain_mount(mount))
    } else if error.is_denied() {
        Error::not_exported(&error)
    } else {
        Error::Sys(error)
    }
}

/// The error for a stale mount that cannot be replaced, because a process on the node uses it.
pub(super) fn in_use(target: &Path) -> Error {
    Error::Precondition(format!(
        "{}. It cannot be replaced now, because a process uses it",
        explain(target, None)
    ))
}
