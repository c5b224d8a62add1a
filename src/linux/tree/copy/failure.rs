//! Reasons why an entry is not in the copy.

use nix::errno::Errno;

use crate::linux::error::SysError;

/// Why an entry is not in the copy.
#[derive(Debug)]
pub(super) enum Failure {
    /// The entry was removed during the copy, as temporary files are. The copy goes on.
    Vanished,
    /// The entry was replaced by one of another kind. It has to be examined again.
    Changed,
    /// The copy was cancelled, or has failed elsewhere.
    Stopped,
    /// A directory is nested too deeply. Holds its path.
    TooDeep(String),
    /// Any other failure.
    System(SysError),
}

impl From<SysError> for Failure {
    fn from(error: SysError) -> Self {
        Self::System(error)
    }
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Makes a failure of `op` on the source. A source that was removed is [`Failure::Vanished`]. `ESTALE` means that another
/// client of the NFS server removed it.
pub(super) fn of_source(op: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| match errno {
        Errno::ENOENT | Errno::ESTALE => Failure::Vanished,
        errno => system(op)(errno),
    }
}

/// Makes a failure of `op`. The caller adds the path.
pub(super) fn system(op: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::System(SysError::new(op, String::new(), errno))
}
