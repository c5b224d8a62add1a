//! How content gets from one file into another, and what the pair of file systems has been found to know.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::io::Errno;

/// What the pair of file systems can do. Kept by the caller for as long as the exports are mounted, so that it is
/// learned once and not for each file.
#[derive(Debug)]
pub struct Support {
    clone: Strategy,
    copy: Strategy,
    /// Whether the file systems can tell where holes are; looked up before the first copy by the server.
    holes: OnceLock<bool>,
    /// Opening files with `O_DIRECT`.
    direct: Strategy,
}

/// Something that a file system may know.
#[derive(Debug)]
pub(super) struct Strategy(AtomicU8);

const UNTRIED: u8 = 0;
const WORKED: u8 = 1;
const REFUSED: u8 = 2;

impl Support {
    /// Both trees lie on one export: cloning (`FICLONE`, NFS 4.2 CLONE) and copying by the server
    /// (`copy_file_range`, NFS 4.2 COPY) are tried until refused for good.
    #[must_use]
    pub const fn same_export() -> Self {
        Self::new(Strategy::untried(), Strategy::untried())
    }

    /// As [`Support::same_export`], but nothing is cloned.
    #[must_use]
    pub const fn without_clone() -> Self {
        Self::new(Strategy::refused(), Strategy::untried())
    }

    /// The trees lie on two exports: every byte is read and written.
    #[must_use]
    pub const fn across() -> Self {
        Self::new(Strategy::refused(), Strategy::refused())
    }

    const fn new(clone: Strategy, copy: Strategy) -> Self {
        Self { clone, copy, holes: OnceLock::new(), direct: Strategy::untried() }
    }

    /// What has worked so far, for logs: `clone`, `copy` or `read and write`.
    #[must_use]
    pub fn used(&self) -> &'static str {
        if self.clone.worked() {
            "clone"
        } else if self.copy.worked() {
            "copy"
        } else {
            "read and write"
        }
    }

    pub(super) fn cloning(&self) -> &Strategy {
        &self.clone
    }

    pub(super) fn copying(&self) -> &Strategy {
        &self.copy
    }

    pub(super) fn direct(&self) -> &Strategy {
        &self.direct
    }

    /// Whether the server is to copy. `knows_holes` finds out whether holes can be asked for; without that there is no
    /// copying by the server either.
    pub(super) fn copies(&self, knows_holes: impl FnOnce() -> bool) -> bool {
        self.copy.worth_trying() && *self.holes.get_or_init(knows_holes)
    }
}

impl Strategy {
    const fn untried() -> Self {
        Self(AtomicU8::new(UNTRIED))
    }

    const fn refused() -> Self {
        Self(AtomicU8::new(REFUSED))
    }

    pub(super) fn worth_trying(&self) -> bool {
        self.0.load(Ordering::Relaxed) != REFUSED
    }

    fn worked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == WORKED
    }

    pub(super) fn works(&self) {
        self.0.store(WORKED, Ordering::Relaxed);
    }

    /// The file system is not asked again. It counts only if it never worked: some file systems know a call and say
    /// of single files that they do not.
    pub(super) fn refuse(&self) {
        let _ = self.0.compare_exchange(UNTRIED, REFUSED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Takes note of an error. Whether it only means that the content has to get there in another way.
    pub(super) fn is_unable(&self, errno: Errno) -> bool {
        match errno {
            Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS => {
                self.refuse();
                true
            }
            // This file or these two: on two file systems of one export, not aligned, immutable, a swap file.
            Errno::XDEV | Errno::INVAL | Errno::PERM | Errno::TXTBSY => true,
            _ => false,
        }
    }
}
