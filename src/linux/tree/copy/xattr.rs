//! User attributes and access control lists.
//!
//! Both are extended attributes here: `user.*`; `system.posix_acl_access` and `system.posix_acl_default` on local file
//! systems and NFS 3; `system.nfs4_acl` on NFS 4, which every file has, those without a list one that says the same as the
//! mode.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FileType, XattrFlags};
use rustix::io::Errno;

use super::failure::{Failure, Outcome, of_source, system};
use super::state::CopyState;
use crate::linux::dir::Dir;
use crate::linux::dir::attributes::{Metadata, proc_path};
use crate::linux::error::SysError;

const NFS4_ACL: &CStr = c"system.nfs4_acl";
const POSIX_ACLS: [&CStr; 2] = [c"system.posix_acl_access", c"system.posix_acl_default"];
/// What fits mostly, and what fits always (xattr(7): `XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const BUFFERS: [usize; 2] = [1024, 65536];

/// Something with extended attributes.
pub(super) enum Handle<'a> {
    Open(BorrowedFd<'a>),
    /// A path of proc(5), for what is not open for reading.
    Path(String),
}

/// The NFS 4 lists that new files of the copy get from the server, by kind and mode: a source's list that says the same
/// is not set.
#[derive(Default)]
pub(super) struct PlainLists(Mutex<HashMap<KindAndMode, Option<Vec<u8>>>>);

/// Whether it is a directory, and its permission bits.
type KindAndMode = (bool, u32);

impl<'a> Handle<'a> {
    pub(super) fn of(file: &'a impl AsFd) -> Self {
        Self::Open(file.as_fd())
    }

    /// Of a handle of [`entry_handle`](crate::linux::dir::attributes::entry_handle).
    pub(super) fn of_entry(handle: &'a OwnedFd) -> Self {
        Self::Path(proc_path(handle))
    }

    /// All names, each with its terminating NUL; none where the file system has no attributes.
    fn list(&self) -> Result<Vec<u8>, Errno> {
        let list = grow(|buffer| match self {
            Self::Open(file) => rustix::fs::flistxattr(file, buffer),
            Self::Path(path) => rustix::fs::listxattr(path, buffer),
        });
        if list == Err(Errno::OPNOTSUPP) { Ok(Vec::new()) } else { list }
    }

    /// `None` if there is no attribute of that name, or there can be none.
    fn get(&self, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
        let value = grow(|buffer| match self {
            Self::Open(file) => rustix::fs::fgetxattr(file, name, buffer),
            Self::Path(path) => rustix::fs::getxattr(path, name, buffer),
        });
        match value {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn set(&self, name: &CStr, value: &[u8]) -> Outcome {
        let set = match self {
            Self::Open(file) => rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Path(path) => rustix::fs::setxattr(path, name, value, XattrFlags::empty()),
        };
        set.map_err(|errno| Failure::System(about("set attribute of", name, errno)))
    }
}

/// CopyJobs them. `is_top`: what the target has is not what everything else here gets when it is made. Returns whether an
/// access control list was set, which may have changed the mode.
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
    let plain = if is_top { get(to) } else { run.plain.of(metadata, || get(to)) };
    match plain.map_err(system("get access control list of"))? {
        Some(plain) if plain == list => Ok(false),
        Some(plain) => {
            to.set(NFS4_ACL, &list)?;
            // A Linux server sets what is in a list and may leave alone what is not.
            let insists = heritable(&plain) && !heritable(&list);
            if insists
                && get(to).map_err(system("get access control list of"))?.is_some_and(|now| heritable(&now))
            {
                return Err(Failure::System(SysError::new(
                    "copy the access control list of",
                    "",
                    heritage(),
                )));
            }
            Ok(true)
        }
        None if is_mode_equivalent(&list) => Ok(false),
        None => Err(Failure::System(about("set attribute of", NFS4_ACL, Errno::OPNOTSUPP))),
    }
}

impl PlainLists {
    fn of(
        &self,
        metadata: &Metadata,
        ask: impl FnOnce() -> Result<Option<Vec<u8>>, Errno>,
    ) -> Result<Option<Vec<u8>>, Errno> {
        let key = (metadata.kind == FileType::Directory, metadata.attributes.mode & 0o777);
        let lists = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists().get(&key) {
            return Ok(list.clone());
        }
        let list = ask()?;
        lists().insert(key, list.clone());
        Ok(list)
    }
}

fn heritage() -> std::io::Error {
    std::io::Error::other(
        "the server has every new directory inherit from the one above: remove its default access control list",
    )
}

/// Entry of an NFS 4 list.
struct Access<'a> {
    flags: u32,
    who: &'a [u8],
}

impl Access<'_> {
    /// Whether it is for what will be made in the directory (RFC 7530 section 6.2.1.4: the flags of inheritance).
    fn is_heritable(&self) -> bool {
        self.flags & 0x0b != 0
    }
}

/// The entries of a list in XDR (RFC 7530 section 6.2.1); `None` if it is none.
fn entries(list: &[u8]) -> Option<Vec<Access<'_>>> {
    fn word(bytes: &mut &[u8]) -> Option<u32> {
        let (word, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u32::from_be_bytes(*word))
    }
    let mut bytes = list;
    let count = word(&mut bytes)?;
    (0..count)
        .map(|_| {
            let (_kind, flags, _rights, length) =
                (word(&mut bytes)?, word(&mut bytes)?, word(&mut bytes)?, word(&mut bytes)? as usize);
            let who = bytes.get(..length)?;
            bytes = bytes.get(length.next_multiple_of(4)..)?;
            Some(Access { flags, who })
        })
        .collect()
}

/// Whether a list is only about those the mode is about, so that a file system without such lists loses nothing.
fn is_mode_equivalent(list: &[u8]) -> bool {
    let of_mode =
        |entry: &Access| matches!(entry.who, b"OWNER@" | b"GROUP@" | b"EVERYONE@") && !entry.is_heritable();
    entries(list).is_some_and(|entries| entries.iter().all(of_mode))
}

fn heritable(list: &[u8]) -> bool {
    entries(list).is_some_and(|entries| entries.iter().any(Access::is_heritable))
}

/// Takes off a directory the lists that its own parent gave it, lest everything in the copy inherit them. An NFS 4 list
/// cannot be taken off; there each list that differs from the source's is set.
pub(super) fn inherit_nothing(to: &Dir) -> crate::linux::error::Result<()> {
    let failed = |name| move |errno| about("take off attribute", name, errno);
    let names = Handle::of(to).list().map_err(failed(c"any"))?;
    for name in POSIX_ACLS {
        if names.split_inclusive(|byte| *byte == 0).any(|other| other == name.to_bytes_with_nul()) {
            rustix::fs::fremovexattr(to, name).map_err(failed(name))?;
        }
    }
    Ok(())
}

/// Calls `read` with a larger buffer if the first is too small.
fn grow(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    for size in BUFFERS {
        let mut buffer = vec![0; size];
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::RANGE)
}

fn about(op: &'static str, name: &CStr, errno: Errno) -> SysError {
    SysError::new(op, name.to_string_lossy(), errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u32, &str)]) -> Vec<u8> {
        let mut list = u32::try_from(entries.len()).unwrap().to_be_bytes().to_vec();
        for (flags, who) in entries {
            for word in [0, *flags, 0x0012_0089, u32::try_from(who.len()).unwrap()] {
                list.extend(word.to_be_bytes());
            }
            list.extend(who.bytes().chain(std::iter::repeat_n(0, who.len().next_multiple_of(4) - who.len())));
        }
        list
    }

    #[test]
    fn a_list_of_the_mode_is_told_from_others() {
        let plain = list(&[(0, "OWNER@"), (0x40, "GROUP@"), (0, "EVERYONE@")]);
        assert!(is_mode_equivalent(&plain) && !heritable(&plain));
        let named = list(&[(0, "OWNER@"), (0, "1234")]);
        assert!(!is_mode_equivalent(&named) && !heritable(&named));
        let inherited = list(&[(0, "OWNER@"), (0x0b, "OWNER@")]);
        assert!(!is_mode_equivalent(&inherited) && heritable(&inherited));
    }

    #[test]
    fn what_is_no_list_says_nothing() {
        let whole = list(&[(0, "EVERYONE@")]);
        for length in 0..whole.len() {
            assert!(!is_mode_equivalent(&whole[..length]) && !heritable(&whole[..length]), "{length}");
        }
        assert!(!is_mode_equivalent(&[0xff; 64]) && !heritable(&[0xff; 64]));
    }
}
