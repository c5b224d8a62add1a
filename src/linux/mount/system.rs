//! The [`Mounter`] of the running driver: mount(2) and umount2(2).

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use sys_mount::{Mount, MountFlags};

use super::mounter::{ExportRoot, Mounter, PreparedBind};
use super::mountinfo::MountTable;
use crate::linux::dir::Dir;
use crate::linux::error::{Result, SysError};
use crate::linux::nfs::options::{BindFlags, NfsOptions};
use crate::linux::nfs::{self, MountError, NfsSource};
use crate::linux::step;

/// Mounts with the system calls of the kernel.
#[derive(Debug)]
pub struct SysMounter {
    /// A directory in which only this process sees mounts ([`super::namespace::enter`]).
    state_dir: PathBuf,
}

impl SysMounter {
    /// `state_dir` must be on a mount that is not shared with another mount namespace.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        Self { state_dir }
    }

    /// Creates a new mount point below the state directory, with mode 0700.
    fn new_mount_point(&self, kind: &str) -> Result<PathBuf> {
        let parent = self.state_dir.join(kind);
        let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&parent).and_then(|()| {
            tempfile::Builder::new()
                .prefix("")
                .permissions(Permissions::from_mode(0o700))
                // Clean-up would remove everything below the directory, also if an export is mounted there.
                .disable_cleanup(true)
                .tempdir_in(&parent)
        });
        created
            .map(tempfile::TempDir::keep)
            .map_err(|e| SysError::new("mkdir", parent.display().to_string(), e))
    }
}

impl Mounter for SysMounter {
    fn mount_export(&self, sources: &[NfsSource], options: &NfsOptions) -> Result<ExportRoot, MountError> {
        let mount_point = self.new_mount_point("exports")?;
        let root = nfs::mount_first(sources, options, &mount_point, undo).and_then(|(number, version)| {
            let source = &sources[number];
            step::begin(format!("a request to {source}"));
            let dir = Dir::open(&mount_point)
                .inspect_err(|_| drop(detach(&mount_point)))?
                .with_label(source.to_string());
            Ok(ExportRoot { dir, mount_point: mount_point.clone(), version })
        });
        if root.as_ref().is_err_and(|error| !error.goes_on()) {
            remove_mount_point(&mount_point)?;
        }
        root
    }

    fn release_export(&self, root: &ExportRoot) -> Result<()> {
        detach(&root.mount_point)?;
        remove_mount_point(&root.mount_point)
    }

    /// Preparing and placing needs five local system calls and no NFS request: mkdir, bind, remount, move, rmdir. The bind
    /// mount gets its flags in a private place and is then moved to the target. So a read-only volume can be written at no
    /// moment, and a driver that is killed in between leaves nothing behind.
    fn prepare(&self, dir: &Dir, flags: BindFlags) -> Result<PreparedBind> {
        let private = self.new_mount_point("binds")?;
        let what = |op| move |e| SysError::new(op, dir.label(), e);
        let bound = raw_mount(&dir.proc_path(), &private, MountFlags::BIND).map_err(what("bind-mount"));
        let flagged = bound.and_then(|()| {
            // The kernel ignores the flags of a new bind mount, so they need a second call.
            raw_mount(Path::new(""), &private, MountFlags::REMOUNT | MountFlags::BIND | mount_flags(flags))
                .map_err(what("set the mount flags of"))
                .inspect_err(|_| drop(detach(&private)))
        });
        match flagged {
            Ok(()) => Ok(PreparedBind { private, label: dir.label(), flags }),
            Err(error) => remove_mount_point(&private).and(Err(error)),
        }
    }

    fn place(&self, bind: PreparedBind, target: &Path) -> Result<()> {
        let PreparedBind { private, label, .. } = bind;
        let moved = raw_mount(&private, target, MountFlags::MOVE)
            .map_err(|e| SysError::new("move the mount of", format!("{label} to {}", target.display()), e))
            .inspect_err(|_| drop(detach(&private)));
        moved.and(remove_mount_point(&private))
    }

    fn discard(&self, bind: PreparedBind) -> Result<()> {
        detach(&bind.private)?;
        remove_mount_point(&bind.private)
    }

    fn unmount(&self, target: &Path) -> Result<()> {
        // Not MNT_FORCE: it aborts all requests of the superblock, which every volume of the export shares. A bind
        // mount that is still in use is detached; it ends when its last user does.
        match self.unmount_unused(target) {
            Err(error) if error.is_busy() => detach(target),
            result => result,
        }
    }

    fn unmount_unused(&self, target: &Path) -> Result<()> {
        umount(target, MntFlags::UMOUNT_NOFOLLOW)
    }

    fn table(&self) -> Result<MountTable> {
        MountTable::read()
    }
}

/// Undoes what mount(2) has done after its caller had given up. What it left in the end is not known, and nobody can be told.
fn undo(mount_point: &Path) {
    let _ = detach(mount_point);
    let _ = remove_mount_point(mount_point);
}

fn raw_mount(source: &Path, target: &Path, flags: MountFlags) -> std::io::Result<()> {
    Mount::builder().fstype("").flags(flags).mount(source, target).map(drop)
}

fn mount_flags(flags: BindFlags) -> MountFlags {
    let mut bits = MountFlags::empty();
    for (wanted, flag) in [
        (flags.read_only, MountFlags::RDONLY),
        (flags.nosuid, MountFlags::NOSUID),
        (flags.nodev, MountFlags::NODEV),
        (flags.noexec, MountFlags::NOEXEC),
    ] {
        bits.set(flag, wanted);
    }
    bits
}

/// Unmounts at once, also a mount that is in use. Sends no request to the server.
fn detach(target: &Path) -> Result<()> {
    umount(target, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)
}

/// With nix, because the flag "do not follow a symbolic link" of sys-mount has a wrong value, which the kernel
/// refuses (docs/decisions.md).
#[expect(clippy::disallowed_methods, reason = "the only place that unmounts")]
fn umount(target: &Path, flags: MntFlags) -> Result<()> {
    umount2(target, flags).map_err(|e| SysError::new("unmount", target.display().to_string(), e))
}

fn remove_mount_point(path: &Path) -> Result<()> {
    std::fs::remove_dir(path).map_err(|e| SysError::new("rmdir", path.display().to_string(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_mount_point_is_empty_private_and_survives_being_dropped() {
        let temporary = tempfile::tempdir().unwrap();
        let mounter = SysMounter::new(temporary.path().join("state"));
        let first = mounter.new_mount_point("binds").unwrap();
        let second = mounter.new_mount_point("binds").unwrap();
        assert_ne!(first, second);
        for path in [first, second] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
            remove_mount_point(&path).unwrap();
        }
    }
}
