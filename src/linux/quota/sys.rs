//! The system calls for project quotas. This is the only file of the crate with unsafe code.
//!
//! No maintained crate has them: `nix` has quotactl(2) only for users and groups, `rustix` and `nix` have neither the ioctls for project ids nor
//! quotactl_fd(2). Each function passes the kernel one pointer to a structure that it owns, whose layout is that of the kernel's
//! headers `linux/fs.h`, `linux/quota.h` and `linux/dqblk_xfs.h`, and which consists of integers only, so that every content is valid.
#![allow(unsafe_code, reason = "the file says why")]

use std::ffi::{CStr, c_int, c_long};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// `struct fsxattr`: what FS_IOC_FSGETXATTR reads and FS_IOC_FSSETXATTR writes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FileAttributes {
    pub(super) flags: u32,
    extent_size: u32,
    extents: u32,
    pub(super) project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

/// `FS_XFLAG_PROJINHERIT`: what is created in the directory gets its project id.
pub(super) const INHERIT: u32 = 0x200;

/// `struct if_nextdqblk`, which begins with `struct if_dqblk`. Limits of bytes count units of 1024 bytes, and the usage counts bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct QuotaBlock {
    pub(super) hard_kib: u64,
    pub(super) soft_kib: u64,
    pub(super) used_bytes: u64,
    pub(super) hard_inodes: u64,
    pub(super) soft_inodes: u64,
    pub(super) used_inodes: u64,
    pub(super) byte_time: u64,
    pub(super) inode_time: u64,
    /// Which of the fields above are set, as `QIF_…`.
    pub(super) valid: u32,
    pub(super) id: u32,
}

/// `QIF_BLIMITS | QIF_ILIMITS`.
pub(super) const LIMITS: u32 = 1 | 4;

/// `FS_QUOTA_PDQ_ACCT`: the file system counts what projects use.
pub(super) const COUNTED: u16 = 1 << 4;
/// `FS_QUOTA_PDQ_ENFD`: it enforces their limits.
pub(super) const ENFORCED: u16 = 1 << 5;

// _IOR('X', 31, struct fsxattr) and _IOW('X', 32, struct fsxattr); the encoding is the same on amd64 and arm64.
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
const PRJQUOTA: c_int = 2;
const Q_GETQUOTA: c_int = 0x80_0007;
const Q_SETQUOTA: c_int = 0x80_0008;
const Q_GETNEXTQUOTA: c_int = 0x80_0009;
const Q_XGETQSTATV: c_int = (b'X' as c_int) << 8 | 8;
/// `FS_QSTATV_VERSION1`.
const STATE_VERSION: u8 = 1;

/// How a file system is named to the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// By any handle on it: quotactl_fd(2), from Linux 5.14 on.
    Handle(BorrowedFd<'a>),
    /// By its block device: quotactl(2).
    Device(&'a CStr),
}

fn checked(result: c_long) -> Result<(), Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// The project id and the flags of a file or directory that is open, but not with `O_PATH`.
pub(super) fn attributes(file: BorrowedFd<'_>) -> Result<FileAttributes, Errno> {
    let mut attributes = FileAttributes::default();
    // SAFETY: the handle is open for the whole call, and the kernel writes at most one `struct fsxattr` to the pointer.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSGETXATTR.into(), &raw mut attributes) };
    checked(result.into())?;
    Ok(attributes)
}

/// Sets the project id and the flags. All other fields must be those that [`attributes`] has returned.
pub(super) fn set_attributes(file: BorrowedFd<'_>, attributes: &FileAttributes) -> Result<(), Errno> {
    // SAFETY: the handle is open for the whole call, and the kernel reads one `struct fsxattr` from the pointer.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSSETXATTR.into(), &raw const *attributes) };
    checked(result.into())
}

/// Limits and usage of a project.
pub(super) fn quota(target: Target<'_>, project: u32) -> Result<QuotaBlock, Errno> {
    let mut block = QuotaBlock::default();
    quotactl(target, Q_GETQUOTA, project, &mut block)?;
    Ok(block)
}

/// Limits and usage of the first project whose id is at least `project` and that has a limit or a usage.
pub(super) fn next_quota(target: Target<'_>, project: u32) -> Result<QuotaBlock, Errno> {
    let mut block = QuotaBlock::default();
    quotactl(target, Q_GETNEXTQUOTA, project, &mut block)?;
    Ok(block)
}

/// Sets those limits of a project that `block.valid` names.
pub(super) fn set_quota(target: Target<'_>, project: u32, block: &QuotaBlock) -> Result<(), Errno> {
    quotactl(target, Q_SETQUOTA, project, &mut block.clone())
}

/// What is switched on: [`COUNTED`] and [`ENFORCED`].
pub(super) fn state(target: Target<'_>) -> Result<u16, Errno> {
    // `struct fs_quota_statv` has 160 bytes. The version is its first byte, and the flags are at offset 2.
    #[repr(C, align(8))]
    struct State([u8; 256]);
    let mut state = State([0; 256]);
    state.0[0] = STATE_VERSION;
    quotactl(target, Q_XGETQSTATV, 0, &mut state)?;
    Ok(u16::from_ne_bytes([state.0[2], state.0[3]]))
}

/// Whether the kernel has quotactl_fd(2). A file system without quotas answers ENOSYS, too, so this asks with a handle that no process has.
pub(super) fn has_quotactl_fd() -> bool {
    // SAFETY: the kernel refuses the handle before it looks at the pointer.
    let result = unsafe { libc::syscall(libc::SYS_quotactl_fd, -1, Q_GETQUOTA << 8 | PRJQUOTA, 0, 0) };
    checked(result) != Err(Errno::ENOSYS)
}

/// `T` must be a structure of integers that is at least as large as what the command reads and writes. Only this file calls it.
fn quotactl<T>(target: Target<'_>, command: c_int, project: u32, data: &mut T) -> Result<(), Errno> {
    let command = command << 8 | PRJQUOTA;
    // SAFETY: the handle or the path is valid for the whole call, and the callers give each command the structure that it reads or
    // writes, which is borrowed exclusively.
    let result = unsafe {
        match target {
            Target::Handle(file) => {
                libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, project, &raw mut *data)
            }
            Target::Device(path) => {
                libc::syscall(libc::SYS_quotactl, command, path.as_ptr(), project, &raw mut *data)
            }
        }
    };
    checked(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_structures_have_the_sizes_of_the_kernels_headers() {
        assert_eq!(size_of::<FileAttributes>(), 28);
        assert_eq!((size_of::<QuotaBlock>(), std::mem::offset_of!(QuotaBlock, id)), (72, 68));
        // The size of the structure is a part of the number of an ioctl.
        assert_eq!((FS_IOC_FSGETXATTR >> 16 & 0x3fff, FS_IOC_FSSETXATTR >> 16 & 0x3fff), (28, 28));
    }

    #[test]
    fn a_file_system_without_quotas_is_an_error_and_nothing_is_written() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(attributes(proc.as_fd()).is_err());
        assert!(quota(Target::Handle(proc.as_fd()), 0).is_err());
        assert!(state(Target::Handle(proc.as_fd())).is_err());
        assert!(quota(Target::Device(c"/proc"), 0).is_err());
    }
}
