//! Access control lists and user attributes.

use std::ffi::CStr;

use nix::errno::Errno;

use crate::linux::dir::Dir;
use crate::linux::error::Result;
use crate::linux::raw;

use super::content::new_file;

const USER_ATTRIBUTE: &CStr = c"user.nfs-subdir-csi";
const POSIX_LIST: &CStr = c"system.posix_acl_access";
const NFS_4_LIST: &CStr = c"system.nfs4_acl";
/// The longest access control list that the trial reads, in bytes.
const LONGEST: usize = 4096;

/// Sets an attribute of users at a new file, and reads it. `Err` is that of the first of these calls that fails.
pub fn user_attribute(dir: &Dir, name: &str) -> Result<()> {
    let file = new_file(dir, name, b"")?;
    let failed = |errno: Errno| dir.error("set a user attribute of", name, errno);
    raw::fsetxattr(&file, USER_ATTRIBUTE, b"value").map_err(failed)?;
    let mut value = [0; 16];
    let length = raw::fgetxattr(&file, USER_ATTRIBUTE, &mut value).map_err(failed)?;
    if value[..length] == *b"value" { Ok(()) } else { Err(failed(Errno::EIO)) }
}

/// Gives a new file an access control list: with NFS 4 the list that it has, and otherwise a POSIX list that names a user.
pub fn access_list(dir: &Dir, name: &str, is_nfs_4: bool) -> Result<()> {
    let file = new_file(dir, name, b"")?;
    let failed = |errno: Errno| dir.error("set the access control list of", name, errno);
    if !is_nfs_4 {
        return raw::fsetxattr(&file, POSIX_LIST, &posix_list()).map_err(failed);
    }
    let mut list = [0; LONGEST];
    let length = raw::fgetxattr(&file, NFS_4_LIST, &mut list).map_err(failed)?;
    raw::fsetxattr(&file, NFS_4_LIST, &list[..length]).map_err(failed)
}

/// A list as Linux has it in an attribute (linux/posix_acl_xattr.h): the version, then for each entry its tag, its rights and its id.
fn posix_list() -> Vec<u8> {
    const VERSION: u32 = 2;
    const NOBODY: u32 = u32::MAX;
    const READ: u16 = 4;
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 6, NOBODY), (0x02, READ, 1000), (0x04, 0, NOBODY), (0x10, READ, NOBODY), (0x20, 0, NOBODY)];
    let mut list = VERSION.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes().into_iter().chain(rights.to_le_bytes()).chain(id.to_le_bytes()));
    }
    list
}
