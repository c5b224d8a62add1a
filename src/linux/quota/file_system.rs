//! A local file system, and the quotas of its projects.

use std::ffi::CString;
use std::fs::{File, TryLockError};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{self, FsType, fstatfs};

use super::sys::{self, COUNTED, ENFORCED, LIMITS, QuotaBlock, Target};
use crate::linux::dir::Dir;
use crate::linux::error::{Result, SysError};
use crate::linux::mount::MountTable;

/// The deepest directory of which the top of the file system is looked for.
const DEEPEST: usize = 4096;

/// A local file system that has a directory of the caller's.
#[derive(Debug)]
pub struct FileSystem {
    /// A directory on it, through which it is asked.
    dir: Dir,
    /// Its block device, if the kernel has no quotactl_fd(2).
    device: Option<CString>,
    /// Which file system it is.
    pub kind: Kind,
    /// Bytes of a block, in which limits are counted.
    pub block: u64,
}

/// The file systems that this program tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// XFS.
    Xfs,
    /// Ext4, which has the same number as ext2 and ext3.
    Ext4,
    /// F2FS.
    F2fs,
    /// Btrfs.
    Btrfs,
    /// ZFS.
    Zfs,
    /// A network file system, whose quotas belong to its server.
    Nfs,
    /// The layered file system of containers.
    Overlay,
    /// Files in memory.
    Tmpfs,
    /// Another one, by the number that statfs(2) gives.
    Other(i64),
}

/// Whether a file system has project quotas switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectQuotas {
    /// They are off, or it has none.
    Off,
    /// Usage is counted, and limits have no effect.
    Counted,
    /// Usage is counted, and limits are enforced.
    Enforced,
}

/// Limits of a project; 0 stands for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that cannot be exceeded.
    pub bytes: u64,
    /// Files and directories that cannot be exceeded.
    pub inodes: u64,
    /// Files and directories that can only be exceeded for some time.
    pub soft_inodes: u64,
}

/// Limits and usage of a project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// The limits.
    pub limits: Limits,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Files and directories in use. A directory with the project id counts, so this is not 0 as long as anything carries the id.
    pub used_inodes: u64,
}

impl Quota {
    /// Whether nothing carries the id, and no limit is left of anything that did.
    #[must_use]
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }
}

impl FileSystem {
    /// The file system of a directory.
    pub fn of(dir: &Dir) -> Result<Self> {
        let own = dir.open_dir(".")?;
        let stat = fstatfs(&own).map_err(|errno| own.error("statfs", ".", errno))?;
        let block = u64::try_from(stat.block_size()).unwrap_or(1);
        Ok(Self { dir: own, device: None, kind: kind_of(stat.filesystem_type()), block })
    }

    /// As [`Self::of`], for a kernel without quotactl_fd(2): names the file system by its block device, which the mount table tells.
    pub fn by_device(dir: &Dir) -> Result<Self> {
        let found = Self::of(dir)?;
        let stat = fstat(&found.dir).map_err(|errno| dir.error("stat", ".", errno))?;
        let wanted = format!("{}:{}", libc::major(stat.st_dev), libc::minor(stat.st_dev));
        let table = MountTable::read()?;
        let source = table.iter().find(|mount| mount.device == wanted).map(|mount| mount.source.clone());
        let device = source.and_then(|source| CString::new(source.as_bytes()).ok());
        let device = device.ok_or_else(|| dir.error("find the block device of", ".", Errno::ENODEV))?;
        Ok(Self { device: Some(device), ..found })
    }

    /// As [`Self::of`] or [`Self::by_device`], whichever the kernel can do.
    pub fn open(dir: &Dir) -> Result<Self> {
        let found = Self::of(dir)?;
        if sys::has_quotactl_fd() { Ok(found) } else { Self::by_device(dir).or(Ok(found)) }
    }

    fn target(&self) -> Target<'_> {
        match &self.device {
            Some(device) => Target::Device(device),
            None => Target::Handle(self.dir.as_fd()),
        }
    }

    /// Whether project quotas are switched on.
    pub fn project_quotas(&self) -> Result<ProjectQuotas> {
        match sys::state(self.target()) {
            Ok(flags) if flags & ENFORCED != 0 => Ok(ProjectQuotas::Enforced),
            Ok(flags) if flags & COUNTED != 0 => Ok(ProjectQuotas::Counted),
            // ENOSYS: quotas are off or unknown here. The others: the file system has no such thing.
            Ok(_)
            | Err(Errno::ENOSYS | Errno::EINVAL | Errno::ENOTBLK | Errno::ENODEV | Errno::EOPNOTSUPP) => {
                Ok(ProjectQuotas::Off)
            }
            Err(errno) => Err(self.error("ask for the quotas of", errno)),
        }
    }

    /// Limits and usage of a project. One quotactl_fd(2).
    pub fn quota(&self, project: u32) -> Result<Quota> {
        match sys::quota(self.target(), project) {
            Ok(block) => Ok(Quota::from(&block)),
            // XFS: this id has never been used.
            Err(Errno::ENOENT) => Ok(Quota::default()),
            Err(errno) => Err(self.error("read a project quota of", errno)),
        }
    }

    /// The first project from `project` on that has a limit or a usage, if there is one. One quotactl_fd(2), and one more for each id before
    /// it that is free again and that the file system still has in its list.
    pub fn next_quota(&self, mut project: u32) -> Result<Option<(u32, Quota)>> {
        loop {
            match sys::next_quota(self.target(), project) {
                // The kernel begins with 0 again when an id does not fit.
                Ok(block) if block.id < project => return Ok(None),
                Ok(block) if !Quota::from(&block).is_free() => {
                    return Ok(Some((block.id, Quota::from(&block))));
                }
                Ok(block) => match block.id.checked_add(1) {
                    Some(next) => project = next,
                    None => return Ok(None),
                },
                Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
                Err(errno) => return Err(self.error("list the project quotas of", errno)),
            }
        }
    }

    /// Sets the limits of a project. One quotactl_fd(2). The limit of bytes is rounded up to a block.
    pub fn set_limits(&self, project: u32, limits: Limits) -> Result<()> {
        let kib = self.round_up(limits.bytes).div_ceil(1024);
        let block = QuotaBlock {
            hard_kib: kib,
            hard_inodes: limits.inodes,
            soft_inodes: limits.soft_inodes,
            valid: LIMITS,
            ..QuotaBlock::default()
        };
        sys::set_quota(self.target(), project, &block)
            .map_err(|errno| self.error("set a project quota of", errno))
    }

    /// A number of bytes as the file system can have it as a limit.
    #[must_use]
    pub fn round_up(&self, bytes: u64) -> u64 {
        bytes.checked_next_multiple_of(self.block.max(1024)).unwrap_or(u64::MAX - 1023)
    }

    /// The topmost directory of the file system that this process can see, and its lock until the value is dropped. `None` if another process has the
    /// lock. Nothing is written.
    pub fn try_lock(&self) -> Result<Option<File>> {
        let device = self.dir.device()?;
        let mut top = self.dir.open_dir(".")?;
        for _ in 0..DEEPEST {
            let parent = top.open_above()?;
            if parent.device()? != device || parent.is_same(&top)? {
                break;
            }
            top = parent;
        }
        try_lock(&top)
    }

    fn error(&self, op: &'static str, errno: Errno) -> SysError {
        self.dir.error(op, ".", errno)
    }
}

/// The lock of a directory (flock(2)) until the value is dropped, or `None` if another process has it.
pub fn try_lock(dir: &Dir) -> Result<Option<File>> {
    let own = dir.as_fd().try_clone_to_owned().map_err(|error| dir.error("lock", ".", error))?;
    let file = File::from(own);
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(dir.error("lock", ".", error)),
    }
}

impl From<&QuotaBlock> for Quota {
    fn from(block: &QuotaBlock) -> Self {
        let limits = Limits {
            bytes: block.hard_kib.saturating_mul(1024),
            inodes: block.hard_inodes,
            soft_inodes: block.soft_inodes,
        };
        Self { limits, used_bytes: block.used_bytes, used_inodes: block.used_inodes }
    }
}

fn kind_of(number: FsType) -> Kind {
    const ZFS: FsType = FsType(0x2fc1_2fc1);
    const F2FS: FsType = FsType(0xf2f5_2010);
    match number {
        statfs::XFS_SUPER_MAGIC => Kind::Xfs,
        statfs::EXT4_SUPER_MAGIC => Kind::Ext4,
        statfs::BTRFS_SUPER_MAGIC => Kind::Btrfs,
        statfs::NFS_SUPER_MAGIC => Kind::Nfs,
        statfs::OVERLAYFS_SUPER_MAGIC => Kind::Overlay,
        statfs::TMPFS_MAGIC => Kind::Tmpfs,
        ZFS => Kind::Zfs,
        F2FS => Kind::F2fs,
        FsType(other) => Kind::Other(other),
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
            Self::F2fs => "f2fs",
            Self::Btrfs => "btrfs",
            Self::Zfs => "zfs",
            Self::Nfs => "nfs",
            Self::Overlay => "overlay",
            Self::Tmpfs => "tmpfs",
            Self::Other(number) => return write!(f, "file system {number:#x}"),
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_top_of_a_file_system_is_locked_once_whatever_directory_leads_to_it() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temporary.path().join("a/b")).unwrap();
        // /proc is a file system of its own, so that this test locks nothing that another process may lock.
        let one = FileSystem::of(&Dir::open(Path::new("/proc/sys/kernel")).unwrap()).unwrap();
        let other = FileSystem::of(&Dir::open(Path::new("/proc/sys/net")).unwrap()).unwrap();
        let lock = one.try_lock().unwrap();
        assert!(lock.is_some() && other.try_lock().unwrap().is_none());
        drop(lock);
        assert!(other.try_lock().unwrap().is_some());
        let (a, b) = (temporary.path().join("a"), temporary.path().join("a/b"));
        let locks = [&a, &b, &a].map(|path| try_lock(&Dir::open(path).unwrap()).unwrap());
        assert_eq!(locks.each_ref().map(Option::is_some), [true, true, false]);
    }

    #[test]
    fn a_file_system_without_projects_is_told() {
        let proc = FileSystem::open(&Dir::open(Path::new("/proc")).unwrap()).unwrap();
        assert_eq!(proc.project_quotas().unwrap(), ProjectQuotas::Off);
        assert!(matches!(proc.kind, Kind::Other(_)) && proc.quota(1).is_err());
    }

    #[test]
    fn a_limit_is_rounded_up_to_a_block() {
        let dir = Dir::open(Path::new("/proc")).unwrap();
        let file_system = FileSystem { block: 4096, ..FileSystem::of(&dir).unwrap() };
        assert_eq!([0, 1, 4096, 4097].map(|bytes| file_system.round_up(bytes)), [0, 4096, 4096, 8192]);
        assert!(file_system.round_up(u64::MAX) > 1 << 63);
    }
}
