//! User attributes and access control lists.
//!
//! Both are extended attributes (xattr(7)): `user.*`; `system.posix_acl_access` and `system.posix_acl_default` on local
//! file systems and NFS 3; `system.nfs4_acl` on NFS 4. There every entry has the last one. Without a list of its own, an
//! entry has one that says the same as its mode.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;

use super::failure::{Failure, Outcome, of_source, system};
use super::nfs4_acl::{is_heritable, is_mode_equivalent};
use super::state::CopyState;
use crate::linux::dir::metadata::Metadata;
use crate::linux::dir::{Dir, proc_path};
use crate::linux::error::{Result as SysResult, SysError};
use crate::linux::raw;

const NFS4_ACL: &CStr = c"system.nfs4_acl";
const POSIX_ACLS: [&CStr; 2] = [c"system.posix_acl_access", c"system.posix_acl_default"];
/// Sizes in bytes that are tried for names and values: one that is usually enough, and the kernel's maximum
/// (xattr(7): `XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const BUFFERS: [usize; 2] = [1024, 65536];

/// An entry with extended attributes.
pub(super) enum Handle<'a> {
    Open(BorrowedFd<'a>),
    /// A path below `/proc/self/fd`, for an entry that is opened with `O_PATH`.
    Path(PathBuf),
}

impl<'a> Handle<'a> {
    pub(super) fn of(file: &'a impl AsFd) -> Self {
        Self::Open(file.as_fd())
    }

    /// Of a handle of [`Dir::open_entry`].
    pub(super) fn of_entry(handle: &OwnedFd) -> Self {
        Self::Path(proc_path(handle).into())
    }

    /// All names, each with its terminating NUL. Empty if the file system has no attributes.
    fn list(&self) -> Result<Vec<u8>, Errno> {
        let list = grow(|buffer| match self {
            Self::Open(file) => raw::flistxattr(file, buffer),
            Self::Path(path) => raw::listxattr(path, buffer),
        });
        if list == Err(Errno::EOPNOTSUPP) { Ok(Vec::new()) } else { list }
    }

    /// The value of an attribute; `None` if the entry or the file system does not have it.
    fn get(&self, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
        let value = grow(|buffer| match self {
            Self::Open(file) => raw::fgetxattr(file, name, buffer),
            Self::Path(path) => raw::getxattr(path, name, buffer),
        });
        match value {
            Ok(value) => Ok(Some(value)),
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn set(&self, name: &CStr, value: &[u8]) -> Outcome {
        let set = match self {
            Self::Open(file) => raw::fsetxattr(file, name, value),
            Self::Path(path) => raw::setxattr(path, name, value),
        };
        set.map_err(|errno| Failure::System(about("set attribute of", name, errno)))
    }
}

/// Copies user attributes and access control lists. `is_top` tells that `to` was not created by this copy, so that its
/// list may differ from that of other new directories. Returns whether a list was set, which may have changed the mode.
pub(super) fn copy(
    run: &CopyState,
    from: &Handle,
    to: &Handle,
    metadata: &Metadata,
    is_top: bool,
) -> Outcome<bool> {
    let names = from.list().map_err(of_source("list attributes of"))?;
    let mut has_list = false;
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if name == NFS4_ACL {
            has_list |= copy_nfs4_list(run, from, to, metadata, is_top)?;
        } else if (POSIX_ACLS.contains(&name) || name.to_bytes().starts_with(b"user."))
            && let Some(value) = from.get(name).map_err(of_source("get attribute of"))?
        {
            to.set(name, &value)?;
            has_list |= POSIX_ACLS.contains(&name);
        }
    }
    Ok(has_list)
}

fn copy_nfs4_list(
    run: &CopyState,
    from: &Handle,
    to: &Handle,
    metadata: &Metadata,
    is_top: bool,
) -> Outcome<bool> {
    let get = |handle: &Handle| handle.get(NFS4_ACL);
    let Some(list) = get(from).map_err(of_source("get access control list of"))? else { return Ok(false) };
    let present = if is_top { get(to) } else { run.default_acls.of(metadata, || get(to)) };
    match present.map_err(system("get access control list of"))? {
        Some(present) if present == list => Ok(false),
        Some(present) => {
            to.set(NFS4_ACL, &list)?;
            // A Linux server sets the entries of the new list, but may keep heritable entries that it does not name.
            let may_keep = is_heritable(&present) && !is_heritable(&list);
            if may_keep
                && get(to)
                    .map_err(system("get access control list of"))?
                    .is_some_and(|now| is_heritable(&now))
            {
                let error = SysError::new("copy the access control list of", "", inherited());
                return Err(Failure::System(error));
            }
            Ok(true)
        }
        None if is_mode_equivalent(&list) => Ok(false),
        None => Err(Failure::System(about("set attribute of", NFS4_ACL, Errno::EOPNOTSUPP))),
    }
}

fn inherited() -> std::io::Error {
    std::io::Error::other(
        "the server has every new directory inherit from the one above: remove its default access control list",
    )
}

/// Removes the POSIX lists that the directory inherited from its parent. Otherwise everything in the copy would inherit
/// them. An NFS 4 list cannot be removed; instead, every list that differs from the source's is set.
pub(super) fn inherit_nothing(to: &Dir) -> SysResult<()> {
    let failed = |name| move |errno| about("remove attribute", name, errno);
    let names = Handle::of(to).list().map_err(failed(c"any"))?;
    for name in POSIX_ACLS {
        if names.split_inclusive(|byte| *byte == 0).any(|other| other == name.to_bytes_with_nul()) {
            raw::fremovexattr(to, name).map_err(failed(name))?;
        }
    }
    Ok(())
}

/// Calls `read` with a buffer, and again with a larger one if it was too small.
fn grow(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    for size in BUFFERS {
        let mut buffer = vec![0; size];
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::ERANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ERANGE)
}

fn about(op: &'static str, name: &CStr, errno: Errno) -> SysError {
    SysError::new(op, name.to_string_lossy(), errno)
}
