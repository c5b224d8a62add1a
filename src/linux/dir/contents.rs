//! Reading a directory's entries, and reading and writing small files.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Type;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::handle::Dir;
use crate::linux::error::Result;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name: any bytes except `/` and NUL.
    pub name: OsString,
    /// Whether the entry is a directory. `None` if the file system does not say so without a stat.
    pub is_dir: Option<bool>,
    /// The inode number: over NFS the server's file id, as the server gave it with the name.
    pub inode: u64,
}

impl Dir {
    /// The content of the regular file `name`, or `None` if it does not exist. A file of more than `limit` bytes
    /// is an error.
    pub fn read_file(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<Vec<u8>>> {
        let name = name.as_ref();
        // Non-blocking: opening a FIFO that somebody put in the file's place must not block.
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

    /// Creates the file `name` with mode 0600 and `content`. Waits until the server has written it to stable
    /// storage. Fails if the name exists.
    pub fn create_file(&self, name: impl AsRef<OsStr>, content: &[u8]) -> Result<()> {
        let name = name.as_ref();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = self.openat2("create", Path::new(name), flags, Mode::from_bits_truncate(0o600))?;
        let mut file = std::fs::File::from(fd);
        // NFS may report a full disk only when the data is flushed. After fsync(2), close(2) has nothing to report.
        file.write_all(content).and_then(|()| file.sync_all()).map_err(|e| self.error("write", name, e))
    }

    /// The first `limit` entries, in the order of the file system, without `.` and `..`. The memory is bounded for
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

    /// Calls `see` with every entry, in the order of the file system, without `.` and `..`.
    pub fn for_each_entry(&self, mut see: impl FnMut(Entry)) -> Result<()> {
        self.try_each_entry(|entry| {
            see(entry);
            true
        })
    }

    /// Calls `see` with entries until it returns false.
    fn try_each_entry(&self, mut see: impl FnMut(Entry) -> bool) -> Result<()> {
        let own = self.open_dir(".")?;
        let mut stream = nix::dir::Dir::from_fd(own.fd).map_err(|e| self.error("read", ".", e))?;
        for entry in stream.iter() {
            let entry = entry.map_err(|e| self.error("read", ".", e))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                let is_dir = entry.file_type().map(|kind| kind == Type::Directory);
                if !see(Entry { name: name.to_owned(), is_dir, inode: entry.ino() }) {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_over_the_limit_and_a_link_are_errors_and_a_missing_file_is_none() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        dir.create_file("long", &[0; 11]).unwrap();
        assert!(dir.read_file("long", 10).is_err());
        assert!(dir.read_file("long", 11).unwrap().is_some());
        assert!(dir.read_file("absent", 10).unwrap().is_none());
        symlink("long", temporary.path().join("link")).unwrap();
        assert!(dir.read_file("link", 20).unwrap_err().is_unsafe_path());
    }
}
