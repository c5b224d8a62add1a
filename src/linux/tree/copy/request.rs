//! What a copy is asked to do, and what came out of it.

use super::progress::Progress;
use super::support::Support;
use crate::linux::dir::Dir;
use crate::linux::error::SysError;

/// What to copy, and how.
#[derive(Debug)]
pub struct CopyRequest<'a> {
    /// Top of the tree. It should be on a mount with `nodev`: then a file that somebody replaces by a device node just
    /// before it is opened does not open the device.
    pub from: &'a Dir,
    /// An empty directory that no tenant can reach. It becomes the top of the copy and gets the attributes of `from`.
    pub to: &'a Dir,
    /// An empty directory on the same file system as `to`, for entries in transit. The caller empties it afterwards.
    pub links: &'a Dir,
    /// What the file systems of the two trees support.
    pub support: &'a Support,
    /// What to do with device nodes.
    pub devices: DeviceNodes,
    /// Shows the progress, and can cancel the copy.
    pub progress: &'a Progress,
}

/// What to do with device nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceNodes {
    /// Copy them. This needs the capability `CAP_MKNOD`.
    #[default]
    Copy,
    /// Leave them out and count them.
    Skip,
}

/// What a complete copy consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Names of regular files. A file with several hard links counts once for each.
    pub files: u64,
    /// Directories, including the top.
    pub directories: u64,
    /// Symbolic links, FIFOs, sockets and device nodes.
    pub others: u64,
    /// Bytes allocated for the source, including directories. A file with several hard links counts once.
    pub bytes: u64,
    /// Entries that were removed before they could be copied.
    pub vanished: u64,
    /// Device nodes left out because of [`DeviceNodes::Skip`].
    pub skipped: u64,
}

/// Why there is no copy. The caller removes the incomplete copy in [`CopyRequest::to`].
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// [`Progress::cancel`] was called.
    #[error("the copy was cancelled")]
    Cancelled,
    /// Directories are nested more deeply than can be copied. Holds the path of the first such directory.
    #[error("{0} is nested too deeply to be copied")]
    TooDeep(String),
    /// All system calls that failed; at least one.
    #[error("{}", all(.0))]
    Failed(Vec<SysError>),
}

fn all(failures: &[SysError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
