//! What an entry of a file system has besides its content: owner, permission bits, times; read and set by handle.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use super::{Dir, single};
use crate::linux::error::{Result, SysError};

/// Seconds and nanoseconds since 1970; before that the seconds are negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What can be set on every kind of entry.
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

/// Everything statx(2) tells of an entry.
#[derive(Debug, Clone, Copy)]
pub struct Metadata {
    /// File, directory, symbolic link, …
    pub kind: FileType,
    /// What can be set.
    pub attributes: Attributes,
    /// Last change of anything, by the file system's own clock.
    pub ctime: Time,
    /// The file system's device number: major, minor.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
    /// Names the inode has.
    pub links: u32,
    /// Bytes of content; of a link, the length of its target.
    pub size: u64,
    /// Bytes allocated for it.
    pub allocated: u64,
    /// Of a device node what device it stands for: major, minor.
    pub node: (u32, u32),
}

/// Whether a network file system may answer from what it remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It may. Costs nothing over NFS for what was just opened or made.
    Cached,
    /// The server is asked: one GETATTR over NFS.
    Now,
}

impl Metadata {
    /// Of an open file or directory.
    pub fn of(file: impl AsFd, freshness: Freshness) -> Result<Self, Errno> {
        Self::read(file, OsStr::new(""), AtFlags::EMPTY_PATH, freshness)
    }

    /// Of the entry `name` of `dir`; of a link itself.
    pub fn of_entry(dir: &Dir, name: &OsStr, freshness: Freshness) -> Result<Self, Errno> {
        single(name).map_err(|_| Errno::INVAL)?;
        Self::read(dir, name, AtFlags::SYMLINK_NOFOLLOW, freshness)
    }

    fn read(dir: impl AsFd, name: &OsStr, flags: AtFlags, freshness: Freshness) -> Result<Self, Errno> {
        let sync = match freshness {
            Freshness::Cached => AtFlags::empty(),
            Freshness::Now => AtFlags::STATX_FORCE_SYNC,
        };
        rustix::fs::statx(dir, name, flags | sync | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)
            .map(|stat| Self::from(&stat))
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
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
            attributes,
            ctime: Time::from(&stat.stx_ctime),
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            links: stat.stx_nlink,
            size: stat.stx_size,
            // The unit is 512 whatever the file system's block size is.
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

impl From<Time> for Timespec {
    fn from(time: Time) -> Self {
        Self { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
    }
}

impl Attributes {
    /// Of an open file or directory, whose `name` is for messages.
    pub fn of(file: impl AsFd, name: &OsStr) -> Result<Self> {
        Metadata::of(file, Freshness::Cached).map(|it| it.attributes).map_err(failed("stat", name))
    }

    /// Of the entry `name` of `dir`; of a link itself.
    pub fn of_entry(dir: &Dir, name: &OsStr) -> Result<Self> {
        Metadata::of_entry(dir, name, Freshness::Cached)
            .map(|it| it.attributes)
            .map_err(|errno| dir.error("stat", name, errno))
    }

    /// Gives an open file or directory all of these. What it has already is not set again: each of owner, mode and
    /// times costs one SETATTR over NFS. `name` is for messages.
    pub fn apply(&self, file: impl AsFd, name: &OsStr) -> Result<()> {
        let now = Self::of(file.as_fd(), name)?;
        self.apply_owner_and_mode(file.as_fd(), &now, name)?;
        self.apply_times(file, name)
    }

    /// Sets owner and mode where `now`, what the file has, differs.
    pub fn apply_owner_and_mode(&self, file: impl AsFd, now: &Self, name: &OsStr) -> Result<()> {
        let (uid, gid) = self.owner_unless(now);
        let owner_changes = uid.is_some() || gid.is_some();
        if owner_changes {
            rustix::fs::fchown(file.as_fd(), uid, gid).map_err(failed("chown", name))?;
        }
        if self.needs_mode(now, owner_changes) {
            rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode)).map_err(failed("chmod", name))?;
        }
        Ok(())
    }

    /// Sets the times. Last, because everything else that is done to a file changes them.
    pub fn apply_times(&self, file: impl AsFd, name: &OsStr) -> Result<()> {
        rustix::fs::futimens(file, &self.times()).map_err(failed("set times of", name))
    }

    /// Gives an entry of `dir` that cannot be opened, a symbolic link, FIFO, socket or device node, all of these.
    /// A link keeps its mode, which nothing ever looks at.
    pub fn apply_to_entry(&self, dir: &Dir, name: &OsStr) -> Result<()> {
        let error = |op| move |errno: Errno| dir.error(op, name, errno);
        let now = Metadata::of_entry(dir, name, Freshness::Cached).map_err(error("stat"))?;
        let (uid, gid) = self.owner_unless(&now.attributes);
        let owner_changes = uid.is_some() || gid.is_some();
        if owner_changes {
            rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(error("chown"))?;
        }
        if now.kind != FileType::Symlink && self.needs_mode(&now.attributes, owner_changes) {
            let place = entry_handle(dir, name)?;
            rustix::fs::chmod(proc_path(&place), Mode::from_raw_mode(self.mode)).map_err(error("chmod"))?;
        }
        rustix::fs::utimensat(dir, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(error("set times of"))
    }

    fn owner_unless(&self, now: &Self) -> (Option<Uid>, Option<Gid>) {
        let uid = (self.uid != now.uid).then(|| Uid::from_raw(self.uid));
        let gid = (self.gid != now.gid).then(|| Gid::from_raw(self.gid));
        (uid, gid)
    }

    /// chown(2) takes setuid and setgid off; whether it did depends on the kind of entry and on the server.
    fn needs_mode(&self, now: &Self, owner_changes: bool) -> bool {
        const TAKEN_OFF: u32 = 0o6000;
        self.mode != now.mode || owner_changes && self.mode & TAKEN_OFF != 0
    }

    fn times(&self) -> Timestamps {
        Timestamps { last_access: self.atime.into(), last_modification: self.mtime.into() }
    }
}

/// A handle of the entry itself (`O_PATH`), whatever its kind: opening it does nothing to a device or a FIFO.
pub(in crate::linux) fn entry_handle(dir: &Dir, name: &OsStr) -> Result<OwnedFd> {
    let name = single(name).map_err(|errno| dir.error("open", name, errno))?;
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    dir.openat2("open", Path::new(name), flags, nix::sys::stat::Mode::empty())
}

/// The path that leads to a handle within this process (proc(5)): for the calls that take no handle of an entry that
/// is not open for reading.
pub(in crate::linux) fn proc_path(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// Names the operation and the file in an error.
pub(in crate::linux) fn failed(op: &'static str, name: &OsStr) -> impl Fn(Errno) -> SysError {
    move |errno| SysError::new(op, name.to_string_lossy(), errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    const OLD: Attributes = Attributes {
        mode: 0o6751,
        uid: 1234,
        gid: 4321,
        atime: Time { seconds: -5, nanoseconds: 999_999_999 },
        mtime: Time { seconds: 1, nanoseconds: 2 },
    };

    #[test]
    fn a_file_gets_owner_mode_with_setuid_and_times() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("file");
        let file = std::fs::File::create(&path).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o6777)).unwrap();
        let name = OsStr::new("file");
        let own = Attributes::of(&file, name).unwrap();
        // Without root only one's own files can be had.
        let wanted = if own.uid == 0 { OLD } else { Attributes { uid: own.uid, gid: own.gid, ..OLD } };
        wanted.apply(&file, name).unwrap();
        assert_eq!(Attributes::of(&file, name).unwrap(), wanted);
        let dir = Dir::open(temporary.path()).unwrap();
        assert_eq!(Attributes::of_entry(&dir, name).unwrap(), wanted);
    }

    #[test]
    fn a_link_gets_its_own_times_and_what_it_points_to_none() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::write(temporary.path().join("file"), "").unwrap();
        symlink("file", temporary.path().join("link")).unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        let own = Attributes::of_entry(&dir, OsStr::new("link")).unwrap();
        let wanted = Attributes { atime: OLD.atime, mtime: OLD.mtime, ..own };
        wanted.apply_to_entry(&dir, OsStr::new("link")).unwrap();
        assert_eq!(std::fs::symlink_metadata(temporary.path().join("link")).unwrap().mtime(), 1);
        assert!(std::fs::metadata(temporary.path().join("file")).unwrap().mtime() > 1);
    }

    #[test]
    fn a_directory_loses_an_inherited_setgid_and_keeps_its_own() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(temporary.path()).unwrap();
        let own = Attributes::of(&dir, OsStr::new("dir")).unwrap();
        let other_gid = if own.uid == 0 { 4321 } else { own.gid };
        for (before, after) in [(0o2755, 0o755), (0o2755, 0o2755), (0o755, 0o2755)] {
            dir.set_permissions(std::fs::Permissions::from_mode(before)).unwrap();
            for gid in [other_gid, own.gid] {
                let wanted = Attributes { mode: after, gid, ..own };
                wanted.apply(&dir, OsStr::new("dir")).unwrap();
                assert_eq!(Attributes::of(&dir, OsStr::new("dir")).unwrap(), wanted);
            }
        }
    }

    #[test]
    fn a_path_is_no_name() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        for name in ["", ".", "..", "a/b", "/etc"] {
            assert!(Attributes::of_entry(&dir, OsStr::new(name)).is_err(), "{name}");
            assert!(OLD.apply_to_entry(&dir, OsStr::new(name)).is_err(), "{name}");
        }
    }
}
