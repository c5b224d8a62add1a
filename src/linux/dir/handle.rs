//! The handle of a directory, and the ways to open what is below it.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use crate::linux::error::{Result, SysError};

/// How often a lookup is repeated when a concurrent rename disturbed it (`EAGAIN`, openat2(2), and `EXDEV`).
const LOOKUP_ATTEMPTS: usize = 128;

/// An open directory.
///
/// The kernel resolves every path below it with openat2(2). A path that leaves the directory, or that contains a
/// symbolic link or a magic link, is an error for which [`SysError::is_unsafe_path`] is true.
#[derive(Debug)]
pub struct Dir {
    pub(super) fd: OwnedFd,
    /// For messages only. The kernel never gets this path.
    label: PathBuf,
}

impl Dir {
    /// Opens `path` and follows symbolic links. Only for paths that the administrator alone can change.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_path(path, OFlag::O_RDONLY)
    }

    /// Opens `path` with `O_PATH` and does not follow a symbolic link in the last component. The handle can be
    /// used for [`Dir::usage`], but not to read the directory.
    pub fn open_mount(path: &Path) -> Result<Self> {
        Self::open_path(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)
    }

    fn open_path(path: &Path, flags: OFlag) -> Result<Self> {
        let fd = nix::fcntl::open(path, flags | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| SysError::new("open", path.display().to_string(), errno))?;
        Ok(Self { fd, label: path.to_owned() })
    }

    /// Gives the directory another name in messages, for example the export's name instead of its mount point.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<PathBuf>) -> Self {
        self.label = label.into();
        self
    }

    /// The directory's name in messages.
    #[must_use]
    pub fn label(&self) -> String {
        self.label.display().to_string()
    }

    /// The path of this handle below `/proc/self/fd` (proc(5)), for system calls that take only a path.
    #[must_use]
    pub fn proc_path(&self) -> PathBuf {
        proc_path(&self.fd).into()
    }

    /// Opens the directory `path` below this one, to read and change it. Over NFS this costs one ACCESS, and one
    /// LOOKUP for each component that is not in the cache.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<Self> {
        self.open_as(path.as_ref(), OFlag::O_RDONLY)
    }

    /// Opens the directory `path` below this one with `O_PATH`. The server does not check the permission to read
    /// it. The handle can be bind-mounted, and names in the directory can be changed.
    pub fn open_place(&self, path: impl AsRef<Path>) -> Result<Self> {
        self.open_as(path.as_ref(), OFlag::O_PATH)
    }

    fn open_as(&self, path: &Path, access: OFlag) -> Result<Self> {
        let flags = access | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = self.openat2("open", path, flags, Mode::empty())?;
        let label = if path == Path::new(".") { self.label.clone() } else { self.label.join(path) };
        Ok(Self { fd, label })
    }

    /// Opens the directory above this one, which is this one at the top of what the process can see. For looking at it only: what is
    /// above a directory of a tenant does not belong to the tenant.
    pub(in crate::linux) fn open_above(&self) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::openat(&self.fd, "..", flags, Mode::empty())
            .map_err(|errno| self.error("open", "..", errno))?;
        Ok(Self { fd, label: self.label.join("..") })
    }

    /// Opens the entry `name` of any kind with `O_PATH`. Unlike other ways to open, this has no effect on a device
    /// or a FIFO.
    pub(in crate::linux) fn open_entry(&self, name: &OsStr) -> Result<OwnedFd> {
        let name = single(name).map_err(|errno| self.error("open", name, errno))?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        self.openat2("open", Path::new(name), flags, Mode::empty())
    }

    /// Opens `path` below this directory. All other methods that open something use this one.
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
        let mut last = Errno::EAGAIN;
        for _ in 0..LOOKUP_ATTEMPTS {
            let how = OpenHow::new().flags(flags).mode(mode).resolve(resolve);
            match openat2(&self.fd, path, how) {
                // The kernel says EXDEV not only of a path that leads out of this directory, but also of an entry that is moved to
                // another directory between its lookup and the end of the call.
                Err(errno @ (Errno::EAGAIN | Errno::EINTR | Errno::EXDEV)) => last = errno,
                result => return result.map_err(|errno| self.error(op, path, errno)),
            }
        }
        Err(self.error(op, path, last))
    }

    /// The path of the entry `name` in messages; `.` is this directory.
    pub(super) fn path_of(&self, name: impl AsRef<Path>) -> String {
        let name = name.as_ref();
        if name == Path::new(".") { self.label() } else { self.label.join(name).display().to_string() }
    }

    /// A [`SysError`] about the entry `name`; `.` is this directory.
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

/// Returns `name` if it is one path component. System calls other than openat2(2) would resolve a longer path and
/// follow symbolic links in it.
pub(super) fn single(name: &OsStr) -> std::result::Result<&OsStr, Errno> {
    let bytes = name.as_bytes();
    let is_component = !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/');
    if is_component && CString::new(bytes).is_ok() { Ok(name) } else { Err(Errno::EINVAL) }
}

/// Opens for reading what is open with `O_PATH`, whatever has its name now. Only for what is known to be a regular file: opening a device
/// node has effects.
pub(in crate::linux) fn reopen(entry: impl AsFd) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    nix::fcntl::open(proc_path(entry).as_str(), flags, Mode::empty())
}

/// The path of a handle below `/proc/self/fd` (proc(5)), for system calls that take no handle opened with `O_PATH`.
pub(in crate::linux) fn proc_path(handle: impl AsFd) -> String {
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_symlink_anywhere_in_a_path_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
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
    fn an_entry_that_is_moved_away_meanwhile_is_not_said_to_lead_out_of_the_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let (inside, outside) = (temporary.path().join("in"), temporary.path().join("out"));
        for place in [&inside, &outside] {
            std::fs::create_dir(place).unwrap();
        }
        std::fs::write(inside.join("x"), "").unwrap();
        let dir = Dir::open(&inside).unwrap();
        let ended = std::sync::atomic::AtomicBool::new(false);
        let is_ended = || ended.load(std::sync::atomic::Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_ended() {
                    std::fs::rename(inside.join("x"), outside.join("x")).unwrap();
                    std::fs::rename(outside.join("x"), inside.join("x")).unwrap();
                }
            });
            let begun = std::time::Instant::now();
            let mut errors = Vec::new();
            while begun.elapsed() < std::time::Duration::from_secs(1) {
                let opened = dir.openat2("open", Path::new("x"), OFlag::O_RDONLY, Mode::empty());
                errors.extend(opened.err().filter(|error| !error.is_not_found()));
            }
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(errors.is_empty(), "{} errors such as: {}", errors.len(), errors[0]);
        });
    }

    #[test]
    fn a_path_that_leaves_the_directory_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        for path in ["..", "../..", "/", "/etc", "a/../../b"] {
            assert!(dir.open_dir(path).is_err(), "{path}");
        }
        assert!(dir.open_dir("..").unwrap_err().is_unsafe_path());
    }
}
