//! Creating the members of an archive by directory handles.
//!
//! The directories between the top and the present member are open. A directory gets its attributes when it is left,
//! because new entries change its times. A directory that is entered again gets back the times that it had. So nothing has
//! to be remembered about other directories, in whatever order the members come.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, mknodat};
use nix::unistd::symlinkat;

use super::error::{UnpackError, shown};
use super::member::{Member, MemberPath};
use crate::linux::dir::Dir;
use crate::linux::dir::metadata::Attributes;
use crate::linux::error::{Result as SysResult, SysError};

/// Mode of a directory that the archive has entries in, but no member for.
const UNNAMED: u32 = 0o755;
/// Modes of incomplete files and directories: nobody else can use them.
const DRAFT: u32 = 0o600;
const DRAFT_DIRECTORY: u32 = 0o700;

/// The directory tree that the members are created in.
pub(super) struct OutputTree<'a> {
    top: &'a Dir,
    label: &'a str,
    /// The open directories from the top to the parent of the last member.
    levels: Vec<Level>,
}

struct Level {
    name: Vec<u8>,
    dir: Dir,
    /// What to set when the directory is left.
    then: Option<Then>,
}

enum Then {
    Attributes(Attributes),
    Times(Attributes),
}

impl<'a> OutputTree<'a> {
    /// Creates members in `top`. `label` is the archive's name in messages.
    pub(super) fn new(top: &'a Dir, label: &'a str) -> Result<Self, UnpackError> {
        let dir = top.open_dir(".").map_err(UnpackError::Sys)?.with_label("");
        Ok(Self { top, label, levels: vec![Level { name: Vec::new(), dir, then: None }] })
    }

    pub(super) fn make_directory(&mut self, member: &Member) -> Result<(), UnpackError> {
        let then = Some(Then::Attributes(member.attributes));
        let Some((parent, name)) = member.path.split() else {
            self.leave(1, member)?;
            self.levels[0].then = then;
            return Ok(());
        };
        self.enter(&parent, member)?;
        let dir = self.dir();
        let made = match dir.make_dir(os(name), DRAFT_DIRECTORY) {
            Err(error)
                if error.is_taken() && dir.is_dir(os(name)).is_ok_and(|is_dir| is_dir != Some(true)) =>
            {
                dir.remove_file(os(name)).and_then(|()| dir.make_dir(os(name), DRAFT_DIRECTORY))
            }
            Err(error) if error.is_taken() => Ok(()),
            made => made,
        };
        let opened = made.and_then(|()| open(dir, name));
        let dir = opened.map_err(|error| self.failed(member, error))?;
        self.levels.push(Level { name: name.to_vec(), dir, then });
        Ok(())
    }

    /// Creates an empty file that can be written.
    pub(super) fn make_file(&mut self, member: &Member) -> Result<File, UnpackError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(DRAFT);
        self.make(member, |dir, name| dir.openat2("create", Path::new(name), flags, mode)).map(File::from)
    }

    pub(super) fn make_symlink(&mut self, member: &Member, target: &[u8]) -> Result<(), UnpackError> {
        self.make(member, |dir, name| {
            symlinkat(os(target), dir, name).map_err(|errno| dir.error("symlink", name, errno))
        })?;
        self.set_attributes(member)
    }

    pub(super) fn make_fifo(&mut self, member: &Member) -> Result<(), UnpackError> {
        let mode = Mode::from_bits_truncate(DRAFT);
        self.make(member, |dir, name| {
            mknodat(dir, name, SFlag::S_IFIFO, mode, 0).map_err(|errno| dir.error("mknod", name, errno))
        })?;
        self.set_attributes(member)
    }

    pub(super) fn make_hard_link(&mut self, member: &Member, target: &MemberPath) -> Result<(), UnpackError> {
        let nothing = || {
            self.malformed(member, "its target is not an earlier member of the archive, or is a directory")
        };
        let Some((parent, target_name)) = target.split().filter(|_| *target != member.path) else {
            return Err(nothing());
        };
        let mut from = self.top.open_place(".").map_err(UnpackError::Sys)?;
        for component in parent.components() {
            from = match from.open_place(os(component)) {
                Err(error) if error.is_not_found() || error.is_unsafe_path() => return Err(nothing()),
                opened => opened.map_err(|error| self.failed(member, error))?,
            };
        }
        match from.is_dir(os(target_name)) {
            Ok(Some(false)) => {}
            Ok(_) => return Err(nothing()),
            Err(error) => return Err(self.failed(member, error)),
        }
        self.make(member, |dir, name| from.link(os(target_name), dir, name))
    }

    /// Sets the attributes of all directories that are still open.
    pub(super) fn leave_all(mut self) -> Result<(), UnpackError> {
        while let Some(level) = self.levels.pop() {
            level.leave().map_err(|error| {
                let path: Vec<_> =
                    self.levels.iter().map(|above| &above.name[..]).chain([&level.name[..]]).collect();
                self.failed_at(&path.join(&b'/'), error)
            })?;
        }
        Ok(())
    }

    /// Enters the member's parent directory and creates the member with `make`. Replaces an existing entry, unless that is
    /// a directory.
    fn make<T>(
        &mut self,
        member: &Member,
        make: impl Fn(&Dir, &OsStr) -> SysResult<T>,
    ) -> Result<T, UnpackError> {
        let Some((parent, name)) = member.path.split() else {
            return Err(self.malformed(member, "it would replace the top directory"));
        };
        self.enter(&parent, member)?;
        let dir = self.dir();
        let mut result = make(dir, os(name));
        if result.as_ref().is_err_and(SysError::is_taken) {
            if dir.is_dir(os(name)).is_ok_and(|is_dir| is_dir == Some(true)) {
                return Err(self.malformed(member, "it would replace a directory"));
            }
            result = dir.remove_file(os(name)).and_then(|()| make(dir, os(name)));
        }
        result.map_err(|error| self.failed(member, error))
    }

    fn set_attributes(&self, member: &Member) -> Result<(), UnpackError> {
        let Some((_, name)) = member.path.split() else { return Ok(()) };
        member.attributes.apply_to_entry(self.dir(), os(name)).map_err(|error| self.failed(member, error))
    }

    /// The directory that was entered last.
    fn dir(&self) -> &Dir {
        // There is always one level: only `leave_all` removes the top, and it consumes `self`.
        &self.levels[self.levels.len() - 1].dir
    }

    /// Enters the directory `path`. Creates the components that do not exist.
    fn enter(&mut self, path: &MemberPath, member: &Member) -> Result<(), UnpackError> {
        let common =
            self.levels[1..].iter().zip(path.components()).take_while(|(level, name)| level.name == *name);
        let common = 1 + common.count();
        self.leave(common, member)?;
        for name in path.components().skip(common - 1) {
            let (dir, then) = match open(self.dir(), name) {
                Err(error) if error.is_not_found() => {
                    let made = self.dir().make_dir(os(name), UNNAMED).and_then(|()| open(self.dir(), name));
                    (made.map_err(|error| self.failed(member, error))?, None)
                }
                Err(error) if error.is_unsafe_path() => {
                    return Err(
                        self.malformed(member, "its path leads through something that is not a directory")
                    );
                }
                opened => {
                    let opened = opened.and_then(|dir| Ok((Attributes::of(&dir, os(name))?, dir)));
                    let (now, dir) = opened.map_err(|error| self.failed(member, error))?;
                    (dir, Some(Then::Times(now)))
                }
            };
            self.levels.push(Level { name: name.to_vec(), dir, then });
        }
        Ok(())
    }

    /// Leaves all levels except the first `keep`.
    fn leave(&mut self, keep: usize, member: &Member) -> Result<(), UnpackError> {
        while self.levels.len() > keep
            && let Some(level) = self.levels.pop()
        {
            level.leave().map_err(|error| self.failed(member, error))?;
        }
        Ok(())
    }

    fn malformed(&self, member: &Member, reason: &str) -> UnpackError {
        let member = Some(shown(member.path.as_bytes()));
        UnpackError::Malformed { archive: self.label.to_owned(), member, reason: reason.to_owned() }
    }

    /// The error of a system call, with a path that is safe to show.
    pub(super) fn failed(&self, member: &Member, error: SysError) -> UnpackError {
        self.failed_at(member.path.as_bytes(), error)
    }

    fn failed_at(&self, path: &[u8], error: SysError) -> UnpackError {
        let path = format!("{}/{} (from {})", self.top.label(), shown(path), self.label);
        UnpackError::Sys(SysError { path, ..error })
    }
}

impl Level {
    fn leave(&self) -> SysResult<()> {
        match &self.then {
            Some(Then::Attributes(attributes)) => attributes.apply(&self.dir, os(&self.name)),
            Some(Then::Times(times)) => times.apply_times(&self.dir, os(&self.name)),
            None => Ok(()),
        }
    }
}

/// Opens a directory without a label. A label would hold the whole path for each level. `failed` adds the path to errors.
fn open(dir: &Dir, name: &[u8]) -> SysResult<Dir> {
    Ok(dir.open_dir(os(name))?.with_label(""))
}

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}
