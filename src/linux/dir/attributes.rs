//! Setting owner, mode and times of an entry.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};

use super::handle::{Dir, proc_path};
use super::metadata::{Attributes, Freshness, Metadata, Time};
use crate::linux::error::{Result, SysError};
use crate::linux::raw::FileKind;

impl Attributes {
    /// Gives an open file or directory these attributes. An attribute that it already has is not set again, because
    /// over NFS each of owner, mode and times costs one SETATTR. `name` is used in messages.
    pub fn apply(&self, file: impl AsFd, name: &OsStr) -> Result<()> {
        let now = Self::of(file.as_fd(), name)?;
        self.apply_owner_and_mode(file.as_fd(), &now, name)?;
        self.apply_times(file, name)
    }

    /// Sets owner and mode as far as they differ from `now`, the present attributes of the file.
    pub fn apply_owner_and_mode(&self, file: impl AsFd, now: &Self, name: &OsStr) -> Result<()> {
        let (uid, gid) = self.owner_unless(now);
        let owner_changes = uid.is_some() || gid.is_some();
        if owner_changes {
            fchown(file.as_fd(), uid, gid).map_err(failed("chown", name))?;
        }
        if self.needs_mode(now, owner_changes) {
            fchmod(file, Mode::from_bits_truncate(self.mode)).map_err(failed("chmod", name))?;
        }
        Ok(())
    }

    /// Sets the times. Must come last, because every other change of a file changes its times.
    pub fn apply_times(&self, file: impl AsFd, name: &OsStr) -> Result<()> {
        futimens(file, &self.atime.into(), &self.mtime.into()).map_err(failed("set times of", name))
    }

    /// Gives the entry `name` of `dir` these attributes. For entries that cannot be opened without effect: symbolic
    /// links, FIFOs, sockets and device nodes. The mode of a symbolic link is not set, because nothing uses it.
    pub fn apply_to_entry(&self, dir: &Dir, name: &OsStr) -> Result<()> {
        let error = |op| move |errno: Errno| dir.error(op, name, errno);
        let now = Metadata::of_entry(dir, name, Freshness::Cached).map_err(error("stat"))?;
        let (uid, gid) = self.owner_unless(&now.attributes);
        let owner_changes = uid.is_some() || gid.is_some();
        if owner_changes {
            fchownat(dir, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(error("chown"))?;
        }
        if now.kind != FileKind::Symlink && self.needs_mode(&now.attributes, owner_changes) {
            let handle = dir.open_entry(name)?;
            let mode = Mode::from_bits_truncate(self.mode);
            fchmodat(AT_FDCWD, proc_path(&handle).as_str(), mode, FchmodatFlags::FollowSymlink)
                .map_err(error("chmod"))?;
        }
        let (atime, mtime) = (self.atime.into(), self.mtime.into());
        utimensat(dir, name, &atime, &mtime, UtimensatFlags::NoFollowSymlink).map_err(error("set times of"))
    }

    fn owner_unless(&self, now: &Self) -> (Option<Uid>, Option<Gid>) {
        let uid = (self.uid != now.uid).then(|| Uid::from_raw(self.uid));
        let gid = (self.gid != now.gid).then(|| Gid::from_raw(self.gid));
        (uid, gid)
    }

    /// Whether the mode has to be set. chown(2) may clear setuid and setgid, depending on the kind of entry and on
    /// the server.
    fn needs_mode(&self, now: &Self, owner_changes: bool) -> bool {
        const CLEARED_BY_CHOWN: u32 = 0o6000;
        self.mode != now.mode || owner_changes && self.mode & CLEARED_BY_CHOWN != 0
    }
}

impl From<Time> for TimeSpec {
    fn from(time: Time) -> Self {
        Self::new(time.seconds, time.nanoseconds.into())
    }
}

/// Makes a [`SysError`] with the operation and the file.
fn failed(op: &'static str, name: &OsStr) -> impl Fn(Errno) -> SysError {
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
        // Without root the owner cannot be changed.
        let wanted = if own.uid == 0 { OLD } else { Attributes { uid: own.uid, gid: own.gid, ..OLD } };
        wanted.apply(&file, name).unwrap();
        assert_eq!(Attributes::of(&file, name).unwrap(), wanted);
        let dir = Dir::open(temporary.path()).unwrap();
        assert_eq!(Attributes::of_entry(&dir, name).unwrap(), wanted);
    }

    #[test]
    fn a_symlink_gets_its_own_times_and_its_target_keeps_its_times() {
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
    fn a_path_is_not_a_name() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        for name in ["", ".", "..", "a/b", "/etc"] {
            assert!(Attributes::of_entry(&dir, OsStr::new(name)).is_err(), "{name}");
            assert!(OLD.apply_to_entry(&dir, OsStr::new(name)).is_err(), "{name}");
        }
    }
}
