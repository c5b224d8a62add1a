//! Mounts by the real kernel: mount(2) and umount2(2).

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::mount::{MntFlags, umount2};
use sys_mount::{Mount, MountFlags};

use super::mountinfo::MountTable;
use super::{ExportRoot, Mounter};
use crate::linux::dir::Dir;
use crate::linux::error::{Result, SysError};
use crate::linux::nfs::options::{BindFlags, NfsOptions};
use crate::linux::nfs::{self, MountError, NfsSource};

/// The [`Mounter`] of the running driver.
#[derive(Debug)]
pub struct SysMounter {
    /// A directory in which only this process sees mounts ([`super::namespace::enter`]).
    state_dir: PathBuf,
    next: AtomicU64,
}

impl SysMounter {
    /// `state_dir` must lie on a mount that no other namespace shares.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, next: AtomicU64::new(0) }
    }

    /// Makes a new empty directory, which nothing else will use.
    fn fresh_dir(&self, kind: &str) -> Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.state_dir.join(kind).join(format!("{}-{number}", std::process::id()));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|e| SysError::new("mkdir", path.display().to_string(), e))?;
        Ok(path)
    }
}

impl Mounter for SysMounter {
    fn mount_export(&self, sources: &[NfsSource], options: &NfsOptions) -> Result<ExportRoot, MountError> {
        let mount_point = self.fresh_dir("exports")?;
        let root = nfs::mount_first(sources, options, &mount_point).and_then(|(source, version)| {
            let dir = Dir::open(&mount_point)
                .inspect_err(|_| drop(detach(&mount_point)))?
                .with_label(source.to_string());
            Ok(ExportRoot { dir, mount_point: mount_point.clone(), version })
        });
        if root.is_err() {
            remove_mount_point(&mount_point)?;
        }
        root
    }

    fn release_export(&self, root: &ExportRoot) -> Result<()> {
        detach(&root.mount_point)?;
        remove_mount_point(&root.mount_point)
    }

    /// Five local system calls and no NFS request: mkdir, bind, remount, move, rmdir. The bind is made and given
    /// its flags where nobody sees it, and moved into place complete: there is no moment at which a read-only
    /// volume can be written, and a driver killed half-way leaves nothing behind.
    fn bind(&self, dir: &Dir, target: &Path, flags: BindFlags) -> Result<()> {
        let workshop = self.fresh_dir("binds")?;
        let what = |op| move |e| SysError::new(op, format!("{} at {}", dir.label(), target.display()), e);
        let bound = raw_mount(&dir.proc_path(), &workshop, MountFlags::BIND).map_err(what("bind-mount"));
        let placed = bound.and_then(|()| {
            // One call cannot both bind and set flags: the kernel ignores the flags of a fresh bind.
            raw_mount(Path::new(""), &workshop, MountFlags::REMOUNT | MountFlags::BIND | mount_flags(flags))
                .map_err(what("set the mount flags of"))
                .and_then(|()| {
                    raw_mount(&workshop, target, MountFlags::MOVE).map_err(what("move the mount of"))
                })
                .inspect_err(|_| drop(detach(&workshop)))
        });
        placed.and(remove_mount_point(&workshop))
    }

    fn unmount(&self, target: &Path) -> Result<()> {
        // Never MNT_FORCE: it aborts the requests of the whole superblock, which every volume of the export
        // shares. A bind that is still in use is detached instead; it ends with its last user.
        match umount(target, MntFlags::UMOUNT_NOFOLLOW) {
            Err(error) if error.errno() == Some(nix::errno::Errno::EBUSY) => detach(target),
            result => result,
        }
    }

    fn table(&self) -> Result<MountTable> {
        MountTable::read()
    }
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

/// Takes a mount away at once, whoever still uses it, without a word to the server.
fn detach(target: &Path) -> Result<()> {
    umount(target, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)
}

/// By nix, not by sys-mount, whose flag for "do not follow" has the value of `O_NOFOLLOW`, and the kernel refuses it.
#[expect(clippy::disallowed_methods, reason = "the one place that unmounts")]
fn umount(target: &Path, flags: MntFlags) -> Result<()> {
    umount2(target, flags).map_err(|e| SysError::new("unmount", target.display().to_string(), e))
}

fn remove_mount_point(path: &Path) -> Result<()> {
    std::fs::remove_dir(path).map_err(|e| SysError::new("rmdir", path.display().to_string(), e))
}
