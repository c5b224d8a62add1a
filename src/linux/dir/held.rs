//! Files that are kept open, so that questions about them go to the file itself and not to whatever has its name now.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use parking_lot::RwLock;

use super::handle::{Dir, single};
use super::metadata::{Freshness, Metadata, Time};
use crate::linux::error::{Result, SysError};
use crate::linux::raw::{Statx, statx_known};

/// An open regular file.
#[derive(Debug)]
pub struct HeldFile {
    /// `None` after [`HeldFile::close`].
    file: RwLock<Option<File>>,
    inode: u64,
    links: u32,
    label: String,
}

impl Dir {
    /// Opens the regular file `name` and reads it. `None` if it does not exist. A file of more than `limit` bytes is an
    /// error. Over NFS: GETATTR of the directory, OPEN and READ, and CLOSE when the file is dropped.
    pub fn hold_file(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<(HeldFile, Vec<u8>)>> {
        // Without this an OPEN trusts what the client has cached of the name.
        self.fresh()?;
        self.hold_known_file(name, limit)
    }

    /// As [`Self::hold_file`], but what the client has cached of the name counts: there may be such a file although it is not found, and
    /// the name may belong to another file by now. One request less.
    pub fn hold_known_file(
        &self,
        name: impl AsRef<OsStr>,
        limit: u64,
    ) -> Result<Option<(HeldFile, Vec<u8>)>> {
        let name = name.as_ref();
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match self.open_without_delegation("open", name, flags, Mode::empty()) {
            Err(error) if error.is_not_found() => return Ok(None),
            result => result?,
        };
        let held = HeldFile::new(file, self.path_of(name))?;
        let content = held.content(limit + 1)?;
        if content.len() as u64 > limit {
            return Err(self.error("read", name, io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        Ok(Some((held, content)))
    }

    /// Creates a file with mode 0600 and `content` under a name that nobody else uses, and keeps it open. It waits until the server has
    /// written it to stable storage. Over NFS: OPEN and WRITE. (O_EXCL would be a third request, which sets the mode.)
    pub fn create_held(&self, name: impl AsRef<OsStr>, content: &[u8]) -> Result<HeldFile> {
        let name = name.as_ref();
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let mut file = self.open_without_delegation("create", name, flags, mode)?;
        // Before the WRITE, after which the client would have to ask for some of the attributes.
        let held =
            HeldFile::new(file.try_clone().map_err(|e| self.error("create", name, e))?, self.path_of(name))?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(|e| self.error("write", name, e))?;
        Ok(held)
    }

    /// Opens a file whose names will be changed while it is open. The NFS server may give a delegation to who opens a file, and the client
    /// has to give it back before it changes a name of the file, which is one request more. With O_DIRECT the client asks for none. The
    /// flag is cleared at once, because the content is read and written as usual.
    fn open_without_delegation(
        &self,
        op: &'static str,
        name: &OsStr,
        flags: OFlag,
        mode: Mode,
    ) -> Result<File> {
        let open = |flags| self.openat2(op, Path::new(name), flags, mode);
        let fd = match open(flags | OFlag::O_DIRECT) {
            // A file system that does not know the flag.
            Err(error) if error.errno() == Some(Errno::EINVAL) => return open(flags).map(File::from),
            opened => opened?,
        };
        let kept = flags & OFlag::O_NONBLOCK;
        fcntl(&fd, FcntlArg::F_SETFL(kept)).map_err(|errno| self.error(op, name, errno))?;
        Ok(File::from(fd))
    }
}

impl HeldFile {
    fn new(file: File, label: String) -> Result<Self> {
        match Metadata::of(&file, Freshness::Cached) {
            Ok(status) => {
                Ok(Self { file: RwLock::new(Some(file)), inode: status.inode, links: status.links, label })
            }
            Err(errno) => Err(SysError::new("stat", label, errno)),
        }
    }

    /// The inode number: over NFS the server's file id. No other file has it as long as this one has a name.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// How many names the file had when it was opened.
    #[must_use]
    pub fn links_at_first(&self) -> u32 {
        self.links
    }

    /// How many names the file has on the server now; 0 if it is gone or was closed. One GETATTR.
    pub fn links(&self) -> Result<u32> {
        Ok(self.now()?.map_or(0, |status| status.links))
    }

    /// The attributes of the file as the server has them; `None` if it is gone or was closed. One GETATTR.
    pub fn now(&self) -> Result<Option<Metadata>> {
        let file = self.file.read();
        let Some(file) = file.as_ref() else { return Ok(None) };
        match Metadata::of(file, Freshness::Now) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::ESTALE | Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error("stat", errno)),
        }
    }

    /// Whether the server says now that `name` in `dir` is this file. Over NFS this is a GETATTR of the directory, and a LOOKUP if another
    /// client has changed the directory since the name was last used. The inode number alone would not do: NFS 3 lets the server
    /// use it again while the file is open.
    pub fn is_named(&self, dir: &Dir, name: impl AsRef<OsStr>) -> Result<bool> {
        let name = name.as_ref();
        dir.fresh()?;
        let file = self.file.read();
        let Some(file) = file.as_ref() else { return Ok(false) };
        let own = || statx_known(file, OsStr::new("")).map_err(|errno| self.error("stat", errno));
        // What the kernel knows of one file is the same by each of its names. Of two files the times of change differ.
        let changed = |file: &Statx| (file.stx_ctime.tv_sec, file.stx_ctime.tv_nsec);
        let mut before = own()?;
        loop {
            let there = match single(name).and_then(|name| statx_known(dir, name)) {
                Err(Errno::ENOENT) => return Ok(false),
                Err(errno) => return Err(dir.error("stat", name, errno)),
                Ok(there) => there,
            };
            if there.stx_ino != before.stx_ino || changed(&there) == changed(&before) {
                return Ok(there.stx_ino == before.stx_ino);
            }
            // Another thread may have changed the file between the two looks.
            let after = own()?;
            if changed(&after) == changed(&before) {
                return Ok(false);
            }
            before = after;
        }
    }

    /// When the content was last changed, by the clock of the server. One GETATTR.
    pub fn changed(&self) -> Result<Time> {
        self.with_file(|file| Ok(Metadata::of(file, Freshness::Now)?)).map(|status| status.attributes.mtime)
    }

    /// Locks the file until it is closed. Returns `false` if another handle has locked it. With NFS 4 this is a lock on the server: one LOCK,
    /// and one LOCKU when the file is closed. With NFS 3, as the driver mounts it, and with a server without locks, the lock is valid only on
    /// this machine or there is none. That is not an error.
    pub fn try_lock(&self) -> Result<bool> {
        match self.with_file(|file| Ok(file.try_lock()))? {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => Ok(true),
                _ => Err(self.error("lock", error)),
            },
        }
    }

    /// The present content, up to `limit` bytes. After [`HeldFile::try_lock`] it comes from the server and not from the cache. Over NFS: READ.
    pub fn content(&self, limit: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.with_file(|mut file| {
            file.rewind()?;
            file.take(limit).read_to_end(&mut content)
        })
        .map(|_| content)
    }

    /// Replaces the content by `content`, which must not be shorter. Over NFS this is one WRITE, as long as the content
    /// fits into one request, so that other clients see the old content or the new one.
    pub fn rewrite(&self, content: &[u8]) -> Result<()> {
        self.with_file(|file| file.write_all_at(content, 0).and_then(|()| file.sync_all()))
    }

    /// Closes the file. To be called before its last name is removed: the NFS client renames an open file instead of removing it, looks
    /// that name up before and removes it afterwards, which are two more requests.
    pub fn close(&self) {
        drop(self.file.write().take());
    }

    fn with_file<T>(&self, work: impl FnOnce(&File) -> io::Result<T>) -> Result<T> {
        let file = self.file.read();
        file.as_ref()
            .ok_or_else(|| Errno::EBADF.into())
            .and_then(work)
            .map_err(|error| self.error("access", error))
    }

    fn error(&self, op: &'static str, source: impl Into<io::Error>) -> SysError {
        SysError::new(op, self.label.clone(), source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_file_counts_its_own_names_whatever_has_them_now() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        let own = dir.create_held("one", b"1").unwrap();
        dir.link("one", &dir, "two").unwrap();
        assert_eq!(own.links().unwrap(), 2);
        let (again, content) = dir.hold_file("two", 10).unwrap().unwrap();
        assert_eq!((again.inode(), again.links_at_first(), content.as_slice()), (own.inode(), 2, &b"1"[..]));
        assert!(again.try_lock().unwrap() && !own.try_lock().unwrap());
        again.rewrite(b"22").unwrap();
        assert_eq!(own.content(10).unwrap(), b"22");
        drop(again);
        assert!(own.try_lock().unwrap());
        assert_eq!(dir.read_file("one", 10).unwrap().unwrap(), b"22");
        assert!(own.is_named(&dir, "one").unwrap() && own.is_named(&dir, "two").unwrap());
        dir.remove_file("one").unwrap();
        dir.remove_file("two").unwrap();
        dir.create_file("one", b"other").unwrap();
        assert_eq!(own.links().unwrap(), 0);
        assert!(!own.is_named(&dir, "one").unwrap() && !own.is_named(&dir, "two").unwrap());
        assert!(dir.hold_file("absent", 10).unwrap().is_none());
    }
}
