//! Files: copies by the server, locks and symbolic links.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, copy_file_range};
use nix::sys::stat::Mode;
use nix::unistd::symlinkat;

use crate::linux::dir::Dir;
use crate::linux::error::Result;
use crate::linux::raw;

/// What is copied.
const CONTENT: [u8; 8192] = [7; 8192];

/// Creates a file with content that is on the server's disk.
pub(super) fn new_file(dir: &Dir, name: &str, content: &[u8]) -> Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = dir.openat2("create", Path::new(name), flags, Mode::from_bits_truncate(0o600))?;
    let mut file = File::from(fd);
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|e| dir.error("write", name, e))?;
    Ok(file)
}

/// Makes a new file share the content of another one (`FICLONE`).
pub fn clone(dir: &Dir, from: &str, to: &str) -> Result<()> {
    let (source, target) = (new_file(dir, from, &CONTENT)?, new_file(dir, to, b"")?);
    raw::clone_file(&target, &source).map_err(|errno| dir.error("clone to", to, errno))?;
    same(dir, to, &target)
}

/// Copies a new file with copy_file_range(2). Where the server cannot copy, the kernel reads and writes.
pub fn copy(dir: &Dir, from: &str, to: &str) -> Result<()> {
    let (source, target) = (new_file(dir, from, &CONTENT)?, new_file(dir, to, b"")?);
    let failed = |errno: Errno| dir.error("copy to", to, errno);
    let (mut read_at, mut write_at) = (0, 0);
    while write_at < 8192 {
        let left = usize::try_from(8192 - write_at).unwrap_or_default();
        match copy_file_range(&source, Some(&mut read_at), &target, Some(&mut write_at), left) {
            Ok(0) => return Err(failed(Errno::EIO)),
            Ok(_) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    same(dir, to, &target)
}

fn same(dir: &Dir, name: &str, mut file: &File) -> Result<()> {
    use std::io::Seek;
    let mut content = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut content));
    read.map_err(|e| dir.error("read", name, e))?;
    if content == CONTENT { Ok(()) } else { Err(dir.error("compare the copy", name, Errno::EIO)) }
}

/// Locks a new file with flock(2), which an NFS client makes a lock on the server. Returns whether the lock was free.
pub fn lock(dir: &Dir, name: &str) -> Result<bool> {
    let file = new_file(dir, name, b"")?;
    match file.try_lock() {
        Ok(()) => file.unlock().map(|()| true).map_err(|e| dir.error("unlock", name, e)),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(dir.error("lock", name, error)),
    }
}

/// Makes a symbolic link.
pub fn symlink(dir: &Dir, target: &str, name: &str) -> Result<()> {
    symlinkat(target, dir, name).map_err(|errno| dir.error("symlink", name, errno))
}
