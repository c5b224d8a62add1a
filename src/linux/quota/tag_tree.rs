//! Giving everything in a directory to a project.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::project::{Project, project_of, set_project_of};
use crate::linux::copy::Progress;
use crate::linux::dir::metadata::{Freshness, Metadata};
use crate::linux::dir::{Dir, reopen};
use crate::linux::error::Result;
use crate::linux::raw::FileKind;
use crate::linux::tree::visit::{Failed, Seen, visit_tree};

/// What one walk through a tree did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tagged {
    /// Files and directories that were changed.
    pub changed: u64,
    /// Files that belong to another project and were left alone: projects that are not ours, and files with several names, one of which may
    /// belong to another volume.
    pub foreign: u64,
    /// Symbolic links, FIFOs, sockets and device nodes. They have no project until they are made anew, and use hardly any space.
    pub without_project: u64,
}

/// Gives everything in `top`, but not `top` itself, to the project `id`. With `inherit`, directories get the flag with which what is created in them
/// later belongs to the project, too. `is_ours` tells which ids may be replaced. Links are not followed, and what is mounted
/// within the tree is left alone.
///
/// As long as a directory has the flag and a file does not have its id, rename(2) and link(2) of this file into this directory
/// fail with EXDEV. So ids are given first, in a walk without `inherit`, and flags afterwards.
///
/// System calls for each entry: openat2(2), statx(2), open(2), and one ioctl(2), or three if something changes.
pub fn tag_tree(
    top: &Dir,
    id: u32,
    inherit: bool,
    is_ours: impl Fn(u32) -> bool + Sync,
    progress: &Progress,
) -> Result<Tagged> {
    let [changed, foreign, without_project] = [const { AtomicU64::new(0) }; 3];
    let own = Metadata::of(top, Freshness::Cached).map_err(|errno| top.error("stat", ".", errno))?;
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let tag = |file: BorrowedFd<'_>, metadata: &Metadata| -> Result<(), Failed> {
        let is_dir = metadata.kind == FileKind::Directory;
        let now = project_of(file).map_err(|errno| ("read the project id of", errno))?;
        let wanted = Project { id, inherits: is_dir && (inherit || now.inherits) };
        if now == wanted {
            return Ok(());
        }
        let is_shared = !is_dir && metadata.links > 1;
        if now.id != 0 && now.id != id && (is_shared || !is_ours(now.id)) {
            count(&foreign);
            return Ok(());
        }
        set_project_of(file, wanted).map_err(|errno| ("set the project id of", errno))?;
        count(&changed);
        Ok(())
    };
    visit_tree(top, "give a project id to", progress, &|entry, metadata| {
        if metadata.device != own.device {
            return Ok(());
        }
        match entry {
            Seen::Directory(dir) => tag(dir.as_fd(), metadata),
            Seen::Other(entry) if metadata.kind == FileKind::File => {
                tag(reopen(entry).map_err(|errno| ("open", errno))?.as_fd(), metadata)
            }
            Seen::Other(_) => {
                count(&without_project);
                Ok(())
            }
        }
    })?;
    Ok(Tagged {
        changed: changed.into_inner(),
        foreign: foreign.into_inner(),
        without_project: without_project.into_inner(),
    })
}
