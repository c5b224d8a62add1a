//! What is on the server now: attributes that the NFS client does not take from its cache.

use std::ffi::OsStr;

use nix::errno::Errno;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::handle::{Dir, single};
use super::metadata::{Freshness, Metadata};
use crate::linux::error::Result;

impl Dir {
    /// The attributes of this directory as the server has them. Over NFS this is one GETATTR. Afterwards the client looks
    /// up again what it has cached of the directory, if the directory has changed.
    pub fn fresh(&self) -> Result<Metadata> {
        Metadata::of(self, Freshness::Now).map_err(|errno| self.error("stat", ".", errno))
    }

    /// The attributes of the entry `name` as the server has them, or `None` if there is no such entry. Over NFS this is
    /// one GETATTR for the directory, and one LOOKUP or GETATTR for the entry.
    pub fn fresh_entry(&self, name: impl AsRef<OsStr>) -> Result<Option<Metadata>> {
        self.fresh()?;
        self.entry_with(name.as_ref(), Freshness::Now)
    }

    /// The attributes of the entry `name`, or `None` if there is no such entry. Over NFS they may come from the cache.
    pub fn entry(&self, name: impl AsRef<OsStr>) -> Result<Option<Metadata>> {
        self.entry_with(name.as_ref(), Freshness::Cached)
    }

    fn entry_with(&self, name: &OsStr, freshness: Freshness) -> Result<Option<Metadata>> {
        match Metadata::of_entry(self, name, freshness) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error("stat", name, errno)),
        }
    }

    /// Gives the entry `name` the present time of the server as its times. Over NFS this is one SETATTR. It needs no space
    /// on the file system.
    pub fn touch(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        let now = TimeSpec::UTIME_NOW;
        single(name)
            .and_then(|name| utimensat(self, name, &now, &now, UtimensatFlags::NoFollowSymlink))
            .map_err(|errno| self.error("touch", name, errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_a_file_changes_its_time_and_a_missing_one_is_an_error() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        dir.create_file("file", b"").unwrap();
        let before = dir.fresh_entry("file").unwrap().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        dir.touch("file").unwrap();
        let after = dir.fresh_entry("file").unwrap().unwrap();
        assert!(after.attributes.mtime > before.attributes.mtime);
        assert!(dir.fresh_entry("absent").unwrap().is_none());
        assert!(dir.touch("absent").unwrap_err().is_not_found());
        assert!(dir.touch("../x").is_err());
    }
}
