//! A mount namespace of the driver's own (mount_namespaces(7)).
//!
//! Only this namespace has the export mounts. So no path on the host leads to a whole share, and the kernel unmounts
//! them when the driver ends, even if it is killed. The bind mounts at target paths are different: they are below the
//! kubelet directory, whose mount stays shared with the host, so they stay when the driver ends.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::mountinfo::MountTable;
use crate::linux::error::SysError;

/// Why the driver cannot create the namespace that it needs.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A system call failed. Without `CAP_SYS_ADMIN` that is the first one.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// The driver's own mounts would propagate to the host, because they are on the same mount as the kubelet directory.
    #[error(
        "the state directory {state_dir} and the kubelet directory {kubelet_dir} lie on one mount ({mount}): \
         put the state directory on another mount, such as a tmpfs at /run"
    )]
    SameMount {
        /// The driver's state directory.
        state_dir: PathBuf,
        /// The kubelet directory.
        kubelet_dir: PathBuf,
        /// The mount point of both.
        mount: PathBuf,
    },
    /// Pods would not see the bind mounts of the driver.
    #[error(
        "the kubelet directory {kubelet_dir} lies on a mount that is not shared ({mount}), so no pod would see a \
         volume: mount it into the container with mountPropagation: Bidirectional"
    )]
    NotShared {
        /// The kubelet directory.
        kubelet_dir: PathBuf,
        /// Its mount point.
        mount: PathBuf,
    },
}

/// Moves the calling process into a new mount namespace. There, mounts below `state_dir` stay private and mounts
/// below `kubelet_dir` propagate to the host. Must be called before the process has a second thread.
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
    // As a slave, this mount still receives unmounts of the host, so the driver keeps no file system of the host busy.
    // Mounts made here do not propagate to the host.
    mount(None::<&str>, state_mount, None::<&str>, MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|e| SysError::new("make private", state_mount.display().to_string(), e))?;
    Ok(())
}

fn make_and_resolve(dir: &Path) -> Result<PathBuf, SysError> {
    let made: io::Result<PathBuf> = std::fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
    made.map_err(|e| SysError::new("mkdir", dir.display().to_string(), e))
}
