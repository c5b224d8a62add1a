//! The project id of a directory or a file.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::sys::{self, INHERIT};
use crate::linux::dir::Dir;
use crate::linux::error::Result;

/// The project that the usage of a file or directory is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Project {
    /// The id; 0 for no project.
    pub id: u32,
    /// Whether what is created in the directory belongs to the project, too. Never true of a file.
    pub inherits: bool,
}

impl Dir {
    /// The project of this directory. Needs a handle of [`Dir::open_dir`]. One ioctl(2).
    pub fn project(&self) -> Result<Project> {
        project_of(self.as_fd()).map_err(|errno| self.error("read the project id of", ".", errno))
    }

    /// Gives this directory, but not what is in it, to a project. Needs a handle of [`Dir::open_dir`]. Two ioctl(2), of which the second one
    /// changes id and flag together.
    pub fn set_project(&self, project: Project) -> Result<()> {
        set_project_of(self.as_fd(), project).map_err(|errno| self.error("set the project id of", ".", errno))
    }
}

/// The project of an open file or directory.
pub(super) fn project_of(file: BorrowedFd<'_>) -> Result<Project, Errno> {
    let attributes = sys::attributes(file)?;
    Ok(Project { id: attributes.project, inherits: attributes.flags & INHERIT != 0 })
}

/// Gives an open file or directory to a project. All other attributes stay as they are.
pub(super) fn set_project_of(file: BorrowedFd<'_>, project: Project) -> Result<(), Errno> {
    let mut attributes = sys::attributes(file)?;
    attributes.project = project.id;
    attributes.flags =
        if project.inherits { attributes.flags | INHERIT } else { attributes.flags & !INHERIT };
    sys::set_attributes(file, &attributes)
}
