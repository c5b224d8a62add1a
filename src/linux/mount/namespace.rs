//! A mount namespace of the driver's own (mount_namespaces(7)).
//!
//! Export mounts live in it and nowhere else: no path of the host leads to a whole share, and when the driver
//! ends, however it ends, the kernel takes them away. The binds at the target paths are another matter: they
//! lie below the kubelet directory, whose mount stays shared with the host, and so live on there.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::mountinfo::MountTable;
use crate::linux::error::SysError;

/// Why the driver cannot have a namespace as it needs it.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A system call failed; without `CAP_SYS_ADMIN` the first one does.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// What the driver mounts for itself would appear below the shared mount of the kubelet directory.
    #[error(
        "the state directory {state_dir} and the kubelet directory {kubelet_dir} lie on one mount ({mount}): \
         put the state directory on another one, such as a tmpfs at /run"
    )]
    SameMount {
        /// The driver's own directory.
        state_dir: PathBuf,
        /// kubelet's.
        kubelet_dir: PathBuf,
        /// The mount point that holds both.
        mount: PathBuf,
    },
    /// Pods would never see what the driver binds.
    #[error(
        "the kubelet directory {kubelet_dir} lies on a mount that is not shared ({mount}), so no pod would see a \
         volume: mount it into the container with mountPropagation: Bidirectional"
    )]
    NotShared {
        /// kubelet's directory.
        kubelet_dir: PathBuf,
        /// The mount point that holds it.
        mount: PathBuf,
    },
}

/// Moves the calling process into a mount namespace of its own, in which mounts below `state_dir` stay private
/// and mounts below `kubelet_dir` reach the host. Must be called before the process has a second thread.
pub fn enter(state_dir: &Path, kubelet_dir: Option<&Path>) -> Result<(), NamespaceError> {
    let state_dir = make_and_resolve(state_dir)?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| SysError::new("unshare", "mount namespace", e))?;

    let table = MountTable::read()?;
    let state_mount = table.holding(&state_dir).map_or(Path::new("/"), |mount| &mount.mount_point);
    if let Some(kubelet_dir) = kubelet_dir {
        let kubelet_dir = make_and_resolve(kubelet_dir)?;
        let (mount, shared) =
            table.holding(&kubelet_dir).map_or((Path::new("/"), false), |m| (&m.mount_point, m.shared));
        let mount = mount.to_owned();
        if !shared {
            return Err(NamespaceError::NotShared { kubelet_dir, mount });
        }
        if mount == state_mount {
            return Err(NamespaceError::SameMount { state_dir, kubelet_dir, mount });
        }
    }
    // A slave: unmounts on the host still arrive here, so nothing of the host's is kept busy; mounts made here
    // do not travel back.
    mount(None::<&str>, state_mount, None::<&str>, MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|e| SysError::new("make private", state_mount.display().to_string(), e))?;
    Ok(())
}

fn make_and_resolve(dir: &Path) -> Result<PathBuf, SysError> {
    let made: io::Result<PathBuf> = std::fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
    made.map_err(|e| SysError::new("mkdir", dir.display().to_string(), e))
}
