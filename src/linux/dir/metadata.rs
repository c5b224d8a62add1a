//! What statx(2) tells about an entry of a file system.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::handle::{Dir, single};
use crate::linux::error::{Result, SysError};
use crate::linux::raw::{self, FileKind, Statx, StatxTimestamp};

/// A point in time: seconds and nanoseconds since 1970. The seconds of an earlier time are negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// The attributes that can be set on an entry of every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky: at most 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last access.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
}

/// Everything that statx(2) tells about an entry.
#[derive(Debug, Clone, Copy)]
pub struct Metadata {
    /// File, directory, symbolic link and so on.
    pub kind: FileKind,
    /// The attributes that can be set.
    pub attributes: Attributes,
    /// Last change of anything, by the clock of the file system.
    pub ctime: Time,
    /// Major and minor device number of the file system.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
    /// Number of hard links.
    pub links: u32,
    /// Bytes of content. For a symbolic link, the length of its target.
    pub size: u64,
    /// Bytes allocated for the entry.
    pub allocated: u64,
    /// For a device node, the major and minor number of the device.
    pub node: (u32, u32),
}

/// Whether a network file system may answer from its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The cache may answer. Over NFS this costs nothing for an entry that was just opened or created.
    Cached,
    /// The server must answer. Over NFS this costs one GETATTR.
    Now,
}

impl Metadata {
    /// Of an open file or directory.
    pub fn of(file: impl AsFd, freshness: Freshness) -> Result<Self, Errno> {
        raw::statx(file, OsStr::new(""), freshness == Freshness::Now).map(|stat| Self::from(&stat))
    }

    /// Of the entry `name` in `dir`. For a symbolic link, of the link itself.
    pub fn of_entry(dir: &Dir, name: &OsStr, freshness: Freshness) -> Result<Self, Errno> {
        raw::statx(dir, single(name)?, freshness == Freshness::Now).map(|stat| Self::from(&stat))
    }
}

impl Attributes {
    /// Of an open file or directory. `name` is used in messages.
    pub fn of(file: impl AsFd, name: &OsStr) -> Result<Self> {
        Metadata::of(file, Freshness::Cached)
            .map(|metadata| metadata.attributes)
            .map_err(|errno| SysError::new("stat", name.to_string_lossy(), errno))
    }

    /// Of the entry `name` in `dir`. For a symbolic link, of the link itself.
    pub fn of_entry(dir: &Dir, name: &OsStr) -> Result<Self> {
        Metadata::of_entry(dir, name, Freshness::Cached)
            .map(|metadata| metadata.attributes)
            .map_err(|errno| dir.error("stat", name, errno))
    }
}

impl From<&Statx> for Metadata {
    fn from(stat: &Statx) -> Self {
        let attributes = Attributes {
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            atime: Time::from(&stat.stx_atime),
            mtime: Time::from(&stat.stx_mtime),
        };
        Self {
            kind: FileKind::of_mode(stat.stx_mode.into()),
            attributes,
            ctime: Time::from(&stat.stx_ctime),
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            links: stat.stx_nlink,
            size: stat.stx_size,
            // The unit is 512 bytes for every block size of the file system (statx(2)).
            allocated: stat.stx_blocks.saturating_mul(512),
            node: (stat.stx_rdev_major, stat.stx_rdev_minor),
        }
    }
}

impl From<&StatxTimestamp> for Time {
    fn from(time: &StatxTimestamp) -> Self {
        Self { seconds: time.tv_sec, nanoseconds: time.tv_nsec }
    }
}
