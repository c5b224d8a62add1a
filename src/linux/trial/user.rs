//! Work as another user than root.

use std::io;

use nix::errno::Errno;
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::linux::error::{Result, SysError};

/// A user with the groups that the NFS client tells the server.
#[derive(Debug, Clone)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The group of the user.
    pub gid: u32,
    /// The further groups.
    pub groups: Vec<u32>,
}

/// Does `work` in a thread of its own, which is this user for ever. Fails with `EPERM` if this process may not become another user. The
/// system calls change one thread; those of the C library would change all, and wait for threads that wait for a silent server.
pub fn as_user<T: Send>(user: &User, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("user".to_owned()).spawn_scoped(scope, || {
            become_user(user).map_err(|errno| {
                let errno = Errno::from_raw(errno.raw_os_error());
                SysError::new("become", format!("user {}", user.uid), errno)
            })?;
            Ok(work())
        });
        let thread =
            thread.map_err(|e| SysError::new("start a thread for", format!("user {}", user.uid), e))?;
        let panicked =
            || SysError::new("work as", format!("user {}", user.uid), io::Error::other("it panicked"));
        thread.join().unwrap_or_else(|_| Err(panicked()))
    })
}

fn become_user(user: &User) -> rustix::io::Result<()> {
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}
