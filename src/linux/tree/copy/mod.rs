//! Copying a directory tree by directory handles: on the server where the server can, exact or not at all.

mod entry;
mod failure;
mod file_data;
mod hard_links;
mod keyed_lock;
mod position;
mod progress;
mod state;
mod support;
#[cfg(test)]
mod tests;
mod walk;
mod xattr;

use crate::linux::dir::Dir;
use crate::linux::error::SysError;

pub use progress::Progress;
pub use support::Support;

/// What to copy, and how.
#[derive(Debug)]
pub struct CopyRequest<'a> {
    /// Top of the tree. Best on a mount with `nodev`: a file that is replaced by a device node just before it is opened is
    /// not opened then.
    pub from: &'a Dir,
    /// An empty directory that nobody else can reach. It becomes the copy's top, attributes included.
    pub to: &'a Dir,
    /// An empty directory on the same file system as `to`, for what is on its way. The caller empties it afterwards.
    pub links: &'a Dir,
    /// What the file systems of the two can do.
    pub means: &'a Support,
    /// What becomes of device nodes.
    pub devices: DeviceNodes,
    /// Where to say how far it is, and to look whether to go on.
    pub progress: &'a Progress,
}

/// What becomes of device nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceNodes {
    /// They are copied, which takes the right to make some (`CAP_MKNOD`).
    #[default]
    Copy,
    /// They are left out, and counted.
    Skip,
}

/// What a finished copy is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Names of regular files. A file with several counts for each.
    pub files: u64,
    /// Directories, the top included.
    pub directories: u64,
    /// Symbolic links, FIFOs, sockets and device nodes.
    pub others: u64,
    /// Bytes allocated for the source, directories included, files with several names once.
    pub bytes: u64,
    /// Entries that were gone when their turn came.
    pub vanished: u64,
    /// Device nodes left out by [`DeviceNodes::Skip`].
    pub skipped: u64,
}

/// Why there is no copy. What there is of it in [`CopyRequest::to`] is for the caller to remove.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// [`Progress::cancel`] was called.
    #[error("the copy was cancelled")]
    Cancelled,
    /// Directories are nested deeper than can be copied; the text is the first such directory.
    #[error("{0} is nested too deeply to be copied")]
    TooDeep(String),
    /// All that went wrong; never empty. Each is a failed system call.
    #[error("{}", all(.0))]
    Failed(Vec<SysError>),
}

fn all(failures: &[SysError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Threads for one large tree. Each waits for the server most of the time. Seconds for 2000 small files that are cloned in
/// the guest, which has one processor, with a delay on its loopback (medians of three):
///
/// | to the server and back | 1 thread | 4 threads | 8 threads | 16 threads |
/// |---|---|---|---|---|
/// | no delay | 2.2 | 2.1 | 2.2 | 2.3 |
/// | 0.2 ms | 9.9 | 5.7 | 5.2 | 4.0 |
/// | 0.5 ms | 15.3 | 6.8 | 4.8 | 4.7 |
/// | 2 ms | | 12.2 | 7.7 | 5.0 |
const WORKERS: usize = 8;
/// Tasks that wait before more threads than the caller's are started: most volumes are small.
const WORTH_HELP: usize = 8;

/// CopyJobs everything in [`CopyRequest::from`] and its own attributes. Blocks for as long as that takes.
///
/// Every file is a state it had at one moment after the call, as after a crash of whoever writes to it; two files may be
/// of two moments. What is removed meanwhile is left out, and counted.
pub fn copy_tree(order: &CopyRequest) -> Result<Summary, CopyError> {
    let run = state::CopyState::new(order);
    match walk::start(&run) {
        Ok(()) => run.queue.work(WORKERS, WORTH_HELP, |task| walk::perform(&run, task)),
        Err(failure) => run.fail(failure),
    }
    run.conclude()
}
