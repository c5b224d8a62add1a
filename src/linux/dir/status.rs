//! What a directory is: its kind, its identity, its owner and mode, and how full its file system is.

use std::ffi::OsStr;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, makedev};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{Gid, Uid, fchown};

use super::handle::{Dir, single};
use crate::linux::error::Result;
use crate::linux::raw::statx_known;

/// Bytes and inodes of the file system that a directory is on, from statvfs(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    /// Bytes that an ordinary user can still write.
    pub available_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Number of inodes; 0 if the file system does not count them.
    pub total_inodes: u64,
    /// Inodes that an ordinary user can still create.
    pub available_inodes: u64,
    /// Inodes in use.
    pub used_inodes: u64,
}

impl Dir {
    /// Whether the entry `name` is a directory, or `None` if there is no such entry. A symbolic link to a directory
    /// is not a directory.
    pub fn is_dir(&self, name: impl AsRef<OsStr>) -> Result<Option<bool>> {
        let name = single(name.as_ref()).map_err(|e| self.error("stat", name.as_ref(), e))?;
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(kind(&stat) == SFlag::S_IFDIR)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error("stat", name, errno)),
        }
    }

    /// Whether both handles are of the same directory.
    pub fn is_same(&self, other: &Self) -> Result<bool> {
        let identity = |dir: &Self| fstat(&dir.fd).map(|stat| (stat.st_dev, stat.st_ino));
        let same = identity(self).and_then(|own| Ok(own == identity(other)?));
        same.map_err(|e| self.error("stat", ".", e))
    }

    /// Whether both directories are on one file system: nothing can be renamed between two. The server of an NFS export may have
    /// further file systems below the share, which the client mounts by itself when something in them is opened.
    pub fn is_on_file_system_of(&self, other: &Self) -> Result<bool> {
        Ok(self.device()? == other.device()?)
    }

    /// The device number of the file system, in the form of this process. Over NFS no request is sent for it.
    pub(in crate::linux) fn device(&self) -> Result<u64> {
        let stat = statx_known(&self.fd, OsStr::new("")).map_err(|e| self.error("stat", ".", e))?;
        Ok(makedev(stat.stx_dev_major.into(), stat.stx_dev_minor.into()))
    }

    /// The inode number of this directory. Over NFS it is the server's file id, and no request is sent for it.
    pub fn inode(&self) -> Result<u64> {
        statx_known(&self.fd, OsStr::new("")).map(|stat| stat.stx_ino).map_err(|e| self.error("stat", ".", e))
    }

    /// Owner, group and permission bits of this directory. The bits include setuid, setgid and sticky.
    pub fn ownership(&self) -> Result<(u32, u32, u32)> {
        let stat = fstat(&self.fd).map_err(|e| self.error("stat", ".", e))?;
        Ok((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777))
    }

    /// Sets the permission bits of this directory, setgid and sticky included. Needs a handle of [`Dir::open_dir`].
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        fchmod(&self.fd, Mode::from_bits_truncate(mode)).map_err(|e| self.error("chmod", ".", e))
    }

    /// Sets owner and group of this directory; `None` means unchanged. Needs a handle of [`Dir::open_dir`].
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        fchown(&self.fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw))
            .map_err(|e| self.error("chown", ".", e))
    }

    /// Bytes and inodes of the file system that this directory is on. Over NFS this is one FSSTAT.
    pub fn usage(&self) -> Result<Usage> {
        let stat = fstatvfs(&self.fd).map_err(|e| self.error("statfs", ".", e))?;
        let unit = stat.fragment_size();
        Ok(Usage {
            total_bytes: stat.blocks().saturating_mul(unit),
            available_bytes: stat.blocks_available().saturating_mul(unit),
            used_bytes: stat.blocks().saturating_sub(stat.blocks_free()).saturating_mul(unit),
            total_inodes: stat.files(),
            available_inodes: stat.files_available(),
            used_inodes: stat.files().saturating_sub(stat.files_free()),
        })
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}
