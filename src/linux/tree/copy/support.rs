//! What a pair of file systems supports for copying the content of a file, as far as it has been tried.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::errno::Errno;

/// What a pair of file systems supports. The caller keeps it while the exports are mounted, so that each strategy is
/// tried once and not for each file.
#[derive(Debug)]
pub struct Support {
    clone: Strategy,
    copy: Strategy,
    /// Whether the file systems can find holes. Set before the first copy by the server.
    holes: OnceLock<bool>,
    /// Opening files with `O_DIRECT`.
    direct: Strategy,
}

/// A way to copy content, which a file system may support.
#[derive(Debug)]
pub(super) struct Strategy(AtomicU8);

const UNTRIED: u8 = 0;
const WORKED: u8 = 1;
const REFUSED: u8 = 2;

impl Support {
    /// Both trees are on one export. Cloning (`FICLONE`, NFS 4.2 CLONE) and copying by the server (`copy_file_range`,
    /// NFS 4.2 COPY) are tried until the file system says that it does not support them.
    #[must_use]
    pub const fn same_export() -> Self {
        Self::new(Strategy::untried(), Strategy::untried())
    }

    /// As [`Support::same_export`], but without cloning.
    #[must_use]
    pub const fn without_clone() -> Self {
        Self::new(Strategy::refused(), Strategy::untried())
    }

    /// The trees are on two exports. All content is read and written.
    #[must_use]
    pub const fn across() -> Self {
        Self::new(Strategy::refused(), Strategy::refused())
    }

    const fn new(clone: Strategy, copy: Strategy) -> Self {
        Self { clone, copy, holes: OnceLock::new(), direct: Strategy::untried() }
    }

    /// The best strategy that has worked so far, for logs: `clone`, `copy` or `read and write`.
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

    /// Whether to let the server copy. `knows_holes` tests whether the file systems can find holes; if they cannot, the
    /// server cannot copy either.
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

    /// Stops trying this strategy, unless it has worked before: some file systems support a call in general and answer
    /// for single files that they do not.
    pub(super) fn refuse(&self) {
        let _ = self.0.compare_exchange(UNTRIED, REFUSED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records an error. Returns whether it only means that another strategy has to be used.
    pub(super) fn is_unable(&self, errno: Errno) -> bool {
        match errno {
            Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::ENOSYS => {
                self.refuse();
                true
            }
            // Only for these files: they are on two file systems of one export, not aligned, immutable, or swap files.
            Errno::EXDEV | Errno::EINVAL | Errno::EPERM | Errno::ETXTBSY => true,
            _ => false,
        }
    }
}
