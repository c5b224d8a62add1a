//! Reading a directory's entries, and reading and writing small files.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Type;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::handle::{Dir, reopen};
use super::metadata::{Freshness, Metadata};
use crate::linux::error::Result;
use crate::linux::raw::FileKind;

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
        self.read_all(fd.into(), name, limit).map(Some)
    }

    /// The content of the regular file `name` with its attributes, or `None` if it does not exist. Anything else than a regular file is an error
    /// and is not opened: for a file system on which others can make device nodes. A file of more than `limit` bytes is an error.
    pub fn read_regular(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<(Metadata, Vec<u8>)>> {
        let name = name.as_ref();
        let entry = match self.open_entry(name) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        let metadata =
            Metadata::of(&entry, Freshness::Cached).map_err(|errno| self.error("stat", name, errno))?;
        if metadata.kind != FileKind::File {
            let reason = io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file");
            return Err(self.error("read", name, reason));
        }
        let file = reopen(&entry).map_err(|errno| self.error("open", name, errno))?;
        Ok(Some((metadata, self.read_all(file.into(), name, limit)?)))
    }

    fn read_all(&self, file: std::fs::File, name: &OsStr, limit: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let length =
            file.take(limit + 1).read_to_end(&mut content).map_err(|e| self.error("read", name, e))?;
        if length as u64 > limit {
            return Err(self.error("read", name, io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        Ok(content)
    }

    /// Gives the file `name` this content, with one rename(2), so that no reader sees a part of it. Does not wait until it is on the disk.
    /// What had the name or the name of the draft, a link for example, is replaced and not followed. `owner` are user and group of the file,
    /// if they are not those of the process.
    pub fn replace_file(&self, name: &str, content: &[u8], owner: Option<(u32, u32)>) -> Result<()> {
        let draft = format!(".{name}.new");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let create = || self.openat2("create", Path::new(&draft), flags, Mode::from_bits_truncate(0o600));
        let fd = match create() {
            Err(error) if error.is_taken() => self.remove_file(&draft).and_then(|()| create()),
            created => created,
        }?;
        let mut file = std::fs::File::from(fd);
        let (uid, gid) = owner.unzip();
        std::os::unix::fs::fchown(&file, uid, gid).map_err(|e| self.error("chown", name, e))?;
        file.write_all(content).map_err(|e| self.error("write", name, e))?;
        self.rename(&draft, self, name)
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
    pub(in crate::linux) fn try_each_entry(&self, mut see: impl FnMut(Entry) -> bool) -> Result<()> {
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

    #[test]
    fn only_a_regular_file_is_opened() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        dir.create_file("file", &[7; 11]).unwrap();
        symlink("file", temporary.path().join("link")).unwrap();
        nix::unistd::mkfifo(&temporary.path().join("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        let (metadata, content) = dir.read_regular("file", 11).unwrap().unwrap();
        assert_eq!((metadata.size, content), (11, vec![7; 11]));
        for name in ["link", "fifo", "."] {
            assert!(dir.read_regular(name, 20).is_err(), "{name}");
        }
        assert!(dir.read_regular("file", 10).is_err() && dir.read_regular("absent", 1).unwrap().is_none());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_links_are_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        let at = |name: &str| temporary.path().join(name);
        std::fs::write(at("outside"), "o").unwrap();
        symlink("outside", at(".report.new")).unwrap();
        symlink("outside", at("report")).unwrap();
        for content in ["first", "2"] {
            dir.replace_file("report", content.as_bytes(), None).unwrap();
            assert_eq!(std::fs::read_to_string(at("report")).unwrap(), content);
        }
        assert!(at("report").symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read_to_string(at("outside")).unwrap(), "o");
        assert_eq!(dir.entries(9).unwrap().len(), 2);
    }
}
