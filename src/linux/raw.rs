//! System calls for which `nix` has no function. They are made with `rustix`.
//!
//! This is the only file that uses `rustix`. All functions return the errno type of `nix`, so that the rest of
//! `linux/` handles one error type.

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use rustix::fs::{AtFlags, FileType, RawDir, StatxFlags, XattrFlags};

pub(super) use rustix::fs::{Statx, StatxTimestamp};

type Result<T> = std::result::Result<T, Errno>;

fn nix(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A device node of a character device.
    CharacterDevice,
    /// A device node of a block device.
    BlockDevice,
    /// The file system did not say, or the kind is not one of the above.
    Unknown,
}

impl FileKind {
    /// The kind in the upper bits of `st_mode` (inode(7)).
    pub(super) fn of_mode(mode: u32) -> Self {
        FileType::from_raw_mode(mode).into()
    }
}

impl From<FileType> for FileKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Unknown => Self::Unknown,
        }
    }
}

/// statx(2) of the entry `name` in `dir`, or of `dir` itself if `name` is empty. Never follows a symbolic link
/// and never mounts an automount. With `ask_server`, NFS sends a GETATTR instead of using its cache.
pub(super) fn statx(dir: impl AsFd, name: &OsStr, ask_server: bool) -> Result<Statx> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    flags.set(AtFlags::EMPTY_PATH, name.is_empty());
    flags.set(AtFlags::STATX_FORCE_SYNC, ask_server);
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS).map_err(nix)
}

/// As [`statx`], but never sends a request for the attributes: the kernel answers with what it has, however old that is. Only what never
/// changes is reliable: the inode number and the device of the file system.
pub(super) fn statx_known(dir: impl AsFd, name: &OsStr) -> Result<Statx> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    flags.set(AtFlags::EMPTY_PATH, name.is_empty());
    rustix::fs::statx(dir, name, flags, StatxFlags::INO | StatxFlags::CTIME).map_err(nix)
}

/// Reads directory entries with one getdents64(2) into a buffer of `size` bytes and shows each to `see`, except
/// `.` and `..`. The kernel keeps the position in the open directory `dir`. Returns whether this was the end.
pub(super) fn read_dir_page(
    dir: impl AsFd,
    size: usize,
    mut see: impl FnMut(&OsStr, FileKind),
) -> Result<bool> {
    let mut buffer = vec![MaybeUninit::uninit(); size];
    let mut stream = RawDir::new(dir, &mut buffer);
    loop {
        match stream.next() {
            None => return Ok(true),
            Some(Ok(entry)) => {
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name != "." && name != ".." {
                    see(name, entry.file_type().into());
                }
            }
            Some(Err(rustix::io::Errno::INTR)) => {}
            Some(Err(errno)) => return Err(nix(errno)),
        }
        if stream.is_buffer_empty() {
            return Ok(false);
        }
    }
}

/// ioctl `FICLONE`: makes `to` share the content of `from`.
pub(super) fn clone_file(to: impl AsFd, from: impl AsFd) -> Result<()> {
    rustix::fs::ioctl_ficlone(to, from).map_err(nix)
}

/// flistxattr(2): all attribute names, each with a terminating NUL. Returns the length.
pub(super) fn flistxattr(file: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    rustix::fs::flistxattr(file, buffer).map_err(nix)
}

/// listxattr(2). Follows a symbolic link at the end of `path`.
pub(super) fn listxattr(path: &Path, buffer: &mut [u8]) -> Result<usize> {
    rustix::fs::listxattr(path, buffer).map_err(nix)
}

/// fgetxattr(2). Returns the length of the value.
pub(super) fn fgetxattr(file: impl AsFd, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    rustix::fs::fgetxattr(file, name, buffer).map_err(nix)
}

/// getxattr(2). Follows a symbolic link at the end of `path`.
pub(super) fn getxattr(path: &Path, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    rustix::fs::getxattr(path, name, buffer).map_err(nix)
}

/// fsetxattr(2).
pub(super) fn fsetxattr(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<()> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()).map_err(nix)
}

/// setxattr(2). Follows a symbolic link at the end of `path`.
pub(super) fn setxattr(path: &Path, name: &CStr, value: &[u8]) -> Result<()> {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).map_err(nix)
}

/// fremovexattr(2).
pub(super) fn fremovexattr(file: impl AsFd, name: &CStr) -> Result<()> {
    rustix::fs::fremovexattr(file, name).map_err(nix)
}
