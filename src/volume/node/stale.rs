//! Mounts of directories that the server does not know any more (`ESTALE`).

use std::path::Path;

use crate::linux::Dir;

use crate::volume::error::Error;

/// Whether the directory that is mounted at `target` is stale. NFS request: GETATTR.
pub(super) fn stale_mount(target: &Path) -> bool {
    Dir::open_mount(target).and_then(|dir| dir.fresh()).is_err_and(|error| error.is_stale())
}

/// What happened to the mount at `target`, and what to do.
pub(super) fn explain(target: &Path) -> String {
    format!(
        "the server does not know the directory any more that is mounted at {} (Stale file handle): it was removed, or the export \
         has moved or was exported with another fsid; restart the pod, and its volume is mounted anew",
        target.display()
    )
}

/// The error for a stale mount that cannot be replaced, because a process on the node uses it.
pub(super) fn in_use(target: &Path) -> Error {
    Error::Precondition(format!("{}. It cannot be replaced now, because a process uses it", explain(target)))
}
