//! Creating, removing and renaming the entries of a directory.

use std::ffi::OsStr;

use nix::fcntl::renameat;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, unlinkat};

use super::handle::{Dir, single};
use crate::linux::error::{Result, SysError};

impl Dir {
    /// Creates the directory `name`. It gets exactly `mode`, because the process has the umask 0
    /// ([`crate::linux::clear_umask`]).
    pub fn make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<()> {
        let name = single(name.as_ref()).map_err(|e| self.error("mkdir", name.as_ref(), e))?;
        mkdirat(&self.fd, name, Mode::from_bits_truncate(mode)).map_err(|e| self.error("mkdir", name, e))
    }

    /// Opens the directory `name`. Creates it first if it does not exist.
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

    /// Removes the entry `name`, which must not be a directory. Removes a symbolic link itself, not its target.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.unlink("unlink", name.as_ref(), UnlinkatFlags::NoRemoveDir)
    }

    fn unlink(&self, op: &'static str, name: &OsStr, flags: UnlinkatFlags) -> Result<()> {
        let name = single(name).map_err(|e| self.error(op, name, e))?;
        unlinkat(&self.fd, name, flags).map_err(|e| self.error(op, name, e))
    }

    /// Moves the entry `name` to `to_name` in the directory `to`, with one rename(2). Replaces a file or an empty
    /// directory that already has the new name.
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Self, to_name: impl AsRef<OsStr>) -> Result<()> {
        let (name, to_name) = (name.as_ref(), to_name.as_ref());
        single(name).and(single(to_name)).map_err(|e| self.error("rename", name, e))?;
        renameat(&self.fd, name, &to.fd, to_name).map_err(|e| {
            let path = format!("{} to {}", self.path_of(name), to.path_of(to_name));
            SysError::new("rename", path, e)
        })
    }

    /// Creates a hard link to the file `name`, called `to_name` in the directory `to`. Fails if that name exists.
    /// If two machines try at the same time, the server lets only one succeed.
    pub fn link(&self, name: impl AsRef<OsStr>, to: &Self, to_name: impl AsRef<OsStr>) -> Result<()> {
        let (name, to_name) = (name.as_ref(), to_name.as_ref());
        single(name).and(single(to_name)).map_err(|e| self.error("link", name, e))?;
        linkat(&self.fd, name, &to.fd, to_name, LinkatFlags::empty())
            .map_err(|e| SysError::new("link", to.path_of(to_name), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_on_a_name_refuse_a_path() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
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
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        dir.create_file("one", b"1").unwrap();
        dir.create_file("two", b"2").unwrap();
        assert!(dir.link("one", &dir, "two").unwrap_err().is_taken());
        assert_eq!(dir.read_file("two", 10).unwrap().unwrap(), b"2");
        dir.link("one", &dir, "three").unwrap();
    }
}
