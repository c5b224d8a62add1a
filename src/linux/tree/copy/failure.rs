//! What can come between an entry and its copy.

use rustix::io::Errno;

use crate::linux::error::SysError;

/// Why an entry is not in the copy.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was removed meanwhile, as temporary files are. No harm.
    Vanished,
    /// It is of another kind by now. It is looked at anew.
    Changed,
    /// Somebody wants the copy to end, or it has failed elsewhere.
    Stopped,
    /// The path of a directory that is nested too deeply.
    TooDeep(String),
    /// Anything else.
    System(SysError),
}

impl From<SysError> for Failure {
    fn from(error: SysError) -> Self {
        Self::System(error)
    }
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Tells a removed source from other failures of `op`. `ESTALE`: another client of the NFS server removed it.
pub(super) fn of_source(op: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| match errno {
        Errno::NOENT | Errno::STALE => Failure::Vanished,
        errno => system(op)(errno),
    }
}

/// A failure of `op`. The path is filled in where it is known.
pub(super) fn system(op: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::System(SysError::new(op, String::new(), errno))
}
