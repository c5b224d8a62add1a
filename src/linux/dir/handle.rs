//! A directory by its handle, and what may be done below it.
//!
//! Every path is resolved by the kernel with `openat2(2)` and may not leave the directory, follow a symbolic
//! link or use a magic link. A tenant can change the tree at any moment; no path is ever walked twice.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchown, linkat, unlinkat};

use crate::linux::error::{Result, SysError};

/// How often a lookup is repeated when the kernel says that a rename disturbed it (`EAGAIN`, openat2(2)).
const LOOKUP_ATTEMPTS: usize = 128;

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// For messages only; never given to the kernel.
    label: PathBuf,
}

/// Bytes and inodes of the file system that a directory lies on, from statvfs(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    /// Bytes that an ordinary user may still write.
    pub available_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Number of inodes; 0 where the file system does not count them.
    pub total_inodes: u64,
    /// Inodes that an ordinary user may still take.
    pub available_inodes: u64,
    /// Inodes in use.
    pub used_inodes: u64,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: any bytes but `/` and NUL.
    pub name: OsString,
    /// Whether it is a directory; `None` where the file system does not say without a stat.
    pub is_dir: Option<bool>,
}

impl Dir {
    /// Opens `path` as it stands, links followed: for paths that only the administrator can change.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())
            .map_err(|errno| SysError::new("open", path.display().to_string(), errno))?;
        Ok(Self { fd, label: path.to_owned() })
    }

    /// Opens `path` as a mere place (`O_PATH`), a link in its last component not followed: enough to ask how full its
    /// file system is.
    pub fn open_mount(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())
            .map_err(|errno| SysError::new("open", path.display().to_string(), errno))?;
        Ok(Self { fd, label: path.to_owned() })
    }

    /// Gives the directory another name in messages, such as the export's instead of its mount point.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<PathBuf>) -> Self {
        self.label = label.into();
        self
    }

    /// The name for messages.
    #[must_use]
    pub fn label(&self) -> String {
        self.label.display().to_string()
    }

    /// The path that leads to this handle within this process (proc(5)), for mount(2).
    #[must_use]
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// Opens the directory `path` below this one, to read and change it. Costs one LOOKUP an uncached
    /// component over NFS, and an ACCESS.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<Self> {
        self.open_as(path.as_ref(), OFlag::O_RDONLY)
    }

    /// Opens the directory `path` below this one as a mere place (`O_PATH`): the server is not asked for
    /// permission to read it. Enough to bind it and to work on names in it.
    pub fn open_place(&self, path: impl AsRef<Path>) -> Result<Self> {
        self.open_as(path.as_ref(), OFlag::O_PATH)
    }

    fn open_as(&self, path: &Path, access: OFlag) -> Result<Self> {
        let flags = access | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = self.openat2("open", path, flags, Mode::empty())?;
        Ok(Self { fd, label: self.label.join(path) })
    }

    /// Opens `path` below this directory; what every other way to open something goes through.
    pub(in crate::linux) fn openat2(
        &self,
        op: &'static str,
        path: &Path,
        flags: OFlag,
        mode: Mode,
    ) -> Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        for _ in 0..LOOKUP_ATTEMPTS {
            let how = OpenHow::new().flags(flags).mode(mode).resolve(resolve);
            match openat2(&self.fd, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                result => return result.map_err(|errno| self.error(op, path, errno)),
            }
        }
        Err(self.error(op, path, Errno::EAGAIN))
    }

    /// Makes the directory `name` in this one. `mode` is what it gets, provided that the process's umask is 0.
    pub fn make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<()> {
        let name = single(name.as_ref()).map_err(|e| self.error("mkdir", name.as_ref(), e))?;
        mkdirat(&self.fd, name, Mode::from_bits_truncate(mode)).map_err(|e| self.error("mkdir", name, e))
    }

    /// Opens the directory `name` in this one and makes it first if it is not there.
    pub fn open_or_make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Self> {
        let name = name.as_ref();
        match self.open_dir(name) {
            Err(error) if error.is_not_found() => {}
            result => return result,
        }
        match self.make_dir(name, mode) {
            Err(error) if !error.is_taken() => Err(error),
            _ => self.open_dir(name),
        }
    }

    /// Removes the empty directory `name`.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.unlink("rmdir", name.as_ref(), UnlinkatFlags::RemoveDir)
    }

    /// Removes the entry `name`, which is no directory. A link is removed itself, not what it points to.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.unlink("unlink", name.as_ref(), UnlinkatFlags::NoRemoveDir)
    }

    fn unlink(&self, op: &'static str, name: &OsStr, flags: UnlinkatFlags) -> Result<()> {
        let name = single(name).map_err(|e| self.error(op, name, e))?;
        unlinkat(&self.fd, name, flags).map_err(|e| self.error(op, name, e))
    }

    /// Moves the entry `name` to `to_name` in `to`: one rename(2). An entry of that name that is a file or an
    /// empty directory is replaced.
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Self, to_name: impl AsRef<OsStr>) -> Result<()> {
        let (name, to_name) = (name.as_ref(), to_name.as_ref());
        single(name).and(single(to_name)).map_err(|e| self.error("rename", name, e))?;
        renameat(&self.fd, name, &to.fd, to_name).map_err(|e| {
            let path = format!("{} to {}", self.path_of(name), to.path_of(to_name));
            SysError::new("rename", path, e)
        })
    }

    /// Gives the file `name` a second name, `to_name` in `to`. Fails when that is taken, also for two callers at
    /// once on two machines: the server decides.
    pub fn link(&self, name: impl AsRef<OsStr>, to: &Self, to_name: impl AsRef<OsStr>) -> Result<()> {
        let (name, to_name) = (name.as_ref(), to_name.as_ref());
        single(name).and(single(to_name)).map_err(|e| self.error("link", name, e))?;
        linkat(&self.fd, name, &to.fd, to_name, LinkatFlags::empty())
            .map_err(|e| SysError::new("link", to.path_of(to_name), e))
    }

    /// The whole content of the regular file `name`, or `None` if there is none. Over `limit` bytes is an error.
    pub fn read_file(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<Vec<u8>>> {
        let name = name.as_ref();
        // Non-blocking, so that a FIFO put in the file's place cannot hold the caller.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = match self.openat2("open", Path::new(name), flags, Mode::empty()) {
            Err(error) if error.is_not_found() => return Ok(None),
            result => result?,
        };
        let mut content = Vec::new();
        let length = std::fs::File::from(fd)
            .take(limit + 1)
            .read_to_end(&mut content)
            .map_err(|e| self.error("read", name, e))?;
        if length as u64 > limit {
            return Err(self.error("read", name, io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        Ok(Some(content))
    }

    /// Makes the new file `name`, mode 0600, with `content`, and waits until the server has it on stable
    /// storage. Fails if the name is taken.
    pub fn create_file(&self, name: impl AsRef<OsStr>, content: &[u8]) -> Result<()> {
        let name = name.as_ref();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = self.openat2("create", Path::new(name), flags, Mode::from_bits_truncate(0o600))?;
        let mut file = std::fs::File::from(fd);
        // NFS may report a full disk only when the data is flushed: fsync(2), and after it close(2) has nothing to say.
        file.write_all(content).and_then(|()| file.sync_all()).map_err(|e| self.error("write", name, e))
    }

    /// The first `limit` entries but `.` and `..`, in the order the file system gives them: bounded memory for
    /// a directory of any size.
    pub fn entries(&self, limit: usize) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.try_each_entry(|entry| {
            if entries.len() < limit {
                entries.push(entry);
            }
            entries.len() < limit
        })?;
        Ok(entries)
    }

    /// Shows every entry but `.` and `..` to `see`, in the order the file system gives them.
    pub fn for_each_entry(&self, mut see: impl FnMut(Entry)) -> Result<()> {
        self.try_each_entry(|entry| {
            see(entry);
            true
        })
    }

    /// Shows entries to `go_on` until it says no.
    fn try_each_entry(&self, mut go_on: impl FnMut(Entry) -> bool) -> Result<()> {
        let own = self.open_dir(".")?;
        let mut stream = nix::dir::Dir::from_fd(own.fd).map_err(|e| self.error("read", ".", e))?;
        for entry in stream.iter() {
            let entry = entry.map_err(|e| self.error("read", ".", e))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                let is_dir = entry.file_type().map(|kind| kind == Type::Directory);
                if !go_on(Entry { name: name.to_owned(), is_dir }) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether `name` is a directory in this one, or `None` if there is no such entry. A link is no directory.
    pub fn is_dir(&self, name: impl AsRef<OsStr>) -> Result<Option<bool>> {
        let name = single(name.as_ref()).map_err(|e| self.error("stat", name.as_ref(), e))?;
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(kind(&stat) == SFlag::S_IFDIR)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error("stat", name, errno)),
        }
    }

    /// Whether the other is the same directory.
    pub fn is_same(&self, other: &Self) -> Result<bool> {
        let identity = |dir: &Self| fstat(&dir.fd).map(|stat| (stat.st_dev, stat.st_ino));
        let same = identity(self).and_then(|own| Ok(own == identity(other)?));
        same.map_err(|e| self.error("stat", ".", e))
    }

    /// Owner, group and permission bits (with setuid, setgid, sticky) of this directory.
    pub fn ownership(&self) -> Result<(u32, u32, u32)> {
        let stat = fstat(&self.fd).map_err(|e| self.error("stat", ".", e))?;
        Ok((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777))
    }

    /// Sets this directory's permission bits, setgid and sticky included. Needs a handle of [`Dir::open_dir`].
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        fchmod(&self.fd, Mode::from_bits_truncate(mode)).map_err(|e| self.error("chmod", ".", e))
    }

    /// Sets this directory's owner and group; `None` leaves one as it is. Needs a handle of [`Dir::open_dir`].
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        fchown(&self.fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw))
            .map_err(|e| self.error("chown", ".", e))
    }

    /// Bytes and inodes of the file system this directory lies on. One FSSTAT over NFS.
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

    fn path_of(&self, name: impl AsRef<Path>) -> String {
        let name = name.as_ref();
        if name == Path::new(".") { self.label() } else { self.label.join(name).display().to_string() }
    }

    pub(in crate::linux) fn error(
        &self,
        op: &'static str,
        name: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> SysError {
        SysError::new(op, self.path_of(name), source)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// `name` if it is one path component. The `*at` calls besides `openat2` would walk a longer path, and follow
/// links in it.
pub(in crate::linux) fn single(name: &OsStr) -> std::result::Result<&OsStr, Errno> {
    let bytes = name.as_bytes();
    let plain = !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/');
    if plain && CString::new(bytes).is_ok() { Ok(name) } else { Err(Errno::EINVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn temporary() -> (tempfile::TempDir, Dir) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        (temporary, dir)
    }

    #[test]
    fn a_symlink_anywhere_in_a_path_is_refused() {
        let (temporary, dir) = temporary();
        std::fs::create_dir_all(temporary.path().join("real/inner")).unwrap();
        symlink("real", temporary.path().join("link")).unwrap();
        symlink("/etc", temporary.path().join("etc")).unwrap();
        for path in ["link", "link/inner", "etc", "real/../link"] {
            assert!(dir.open_dir(path).unwrap_err().is_unsafe_path(), "{path}");
            assert!(dir.open_place(path).unwrap_err().is_unsafe_path(), "{path}");
        }
        dir.open_dir("real/inner").unwrap();
    }

    #[test]
    fn a_path_that_leaves_the_directory_is_refused() {
        let (_temporary, dir) = temporary();
        for path in ["..", "../..", "/", "/etc", "a/../../b"] {
            assert!(dir.open_dir(path).is_err(), "{path}");
        }
        assert!(dir.open_dir("..").unwrap_err().is_unsafe_path());
    }

    #[test]
    fn calls_on_a_name_refuse_a_path() {
        let (temporary, dir) = temporary();
        std::fs::create_dir_all(temporary.path().join("a/b")).unwrap();
        for name in ["a/b", "", ".", "..", "/a"] {
            assert!(dir.remove_dir(name).is_err(), "{name}");
            assert!(dir.remove_file(name).is_err(), "{name}");
            assert!(dir.make_dir(name, 0o700).is_err(), "{name}");
            assert!(dir.rename("a", &dir, name).is_err(), "{name}");
            assert!(dir.is_dir(name).is_err(), "{name}");
        }
        assert!(temporary.path().join("a/b").is_dir());
    }

    #[test]
    fn link_fails_when_the_name_is_taken() {
        let (_temporary, dir) = temporary();
        dir.create_file("one", b"1").unwrap();
        dir.create_file("two", b"2").unwrap();
        assert!(dir.link("one", &dir, "two").unwrap_err().is_taken());
        assert_eq!(dir.read_file("two", 10).unwrap().unwrap(), b"2");
        dir.link("one", &dir, "three").unwrap();
    }

    #[test]
    fn a_file_over_the_limit_and_a_fifo_are_errors_and_a_missing_one_is_none() {
        let (temporary, dir) = temporary();
        dir.create_file("long", &[0; 11]).unwrap();
        assert!(dir.read_file("long", 10).is_err());
        assert!(dir.read_file("long", 11).unwrap().is_some());
        assert!(dir.read_file("absent", 10).unwrap().is_none());
        symlink("long", temporary.path().join("link")).unwrap();
        assert!(dir.read_file("link", 20).unwrap_err().is_unsafe_path());
    }
}
