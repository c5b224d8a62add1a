//! The one table from the driver's errors to gRPC codes.

use std::io::ErrorKind;
use std::time::Duration;

use tonic::{Code, Status};

use crate::volume::error::Error;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The domain says no.
    #[error(transparent)]
    Volume(#[from] Error),
    /// Another call for the same volume is running.
    #[error("another call for this volume has been running for {:.1} s; ask again", .0.as_secs_f64())]
    InFlight(Duration),
    /// All places for calls to this export are taken.
    #[error("{0} other calls to {1} are waiting for its server to answer; ask again")]
    Crowded(usize, String),
    /// The work takes longer than any caller waits. It goes on.
    #[error("still working after {:.0} s, as when the NFS server does not answer; the work goes on, ask again", .0.as_secs_f64())]
    Slow(Duration),
    /// The work ended in a panic.
    #[error("the driver has a bug: this call panicked; its log says where")]
    Panicked,
}

impl CallError {
    /// The gRPC code.
    ///
    /// The codes that the CSI sidecars and kubelet take for "may still be going on" (ABORTED, `DEADLINE_EXCEEDED`,
    /// CANCELLED, UNAVAILABLE) are given only where that is true; a call that ended without effect ends with a
    /// final code, so that nobody asks forever for a volume whose claim is gone.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Volume(error) => code_of(error),
            Self::InFlight(_) | Self::Crowded(..) => Code::Aborted,
            Self::Slow(_) => Code::DeadlineExceeded,
            Self::Panicked => Code::Internal,
        }
    }
}

fn code_of(error: &Error) -> Code {
    match error {
        Error::Missing(_)
        | Error::Invalid { .. }
        | Error::UnknownParameter { .. }
        | Error::MountOption(_) => Code::InvalidArgument,
        Error::NotFound(_) => Code::NotFound,
        Error::AlreadyExists(_) => Code::AlreadyExists,
        Error::Precondition(_) => Code::FailedPrecondition,
        Error::OutOfRange(_) => Code::OutOfRange,
        // BadToken: CSI specification, ListVolumes errors, an invalid starting_token.
        Error::BadToken | Error::Busy(_) | Error::Cancelled => Code::Aborted,
        Error::Sys(error) => match error.source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::ResourceExhausted,
            // A soft mount gave up; whether the server has done it is not known.
            ErrorKind::TimedOut => Code::DeadlineExceeded,
            _ => Code::Internal,
        },
        // The specification keeps PERMISSION_DENIED for identities in secrets; what a server denies is INTERNAL.
        Error::Mount(_) | Error::BadRecord { .. } | Error::Namespace(_) => Code::Internal,
        Error::Several(errors) => errors.first().map_or(Code::Internal, code_of),
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::{MountError, NfsSource, SysError};
    use crate::volume::name::sub_dir::SubDir;

    fn sys(errno: nix::errno::Errno) -> Error {
        SysError::new("mkdir", "nas:/srv/x", errno).into()
    }

    #[test]
    fn each_error_has_its_code() {
        use nix::errno::Errno;
        let export = NfsSource { server: "nas".to_owned(), share: "/srv".to_owned() };
        let table: Vec<(CallError, Code)> = vec![
            (Error::Missing("name").into(), Code::InvalidArgument),
            (Error::invalid("uid", "x").into(), Code::InvalidArgument),
            (Error::UnknownParameter { key: String::new(), nearest: None }.into(), Code::InvalidArgument),
            (Error::from(SubDir::parse("..").unwrap_err()).into(), Code::InvalidArgument),
            (Error::NotFound(String::new()).into(), Code::NotFound),
            (Error::AlreadyExists(String::new()).into(), Code::AlreadyExists),
            (Error::Precondition(String::new()).into(), Code::FailedPrecondition),
            (Error::OutOfRange(String::new()).into(), Code::OutOfRange),
            (Error::BadToken.into(), Code::Aborted),
            (Error::Busy(String::new()).into(), Code::Aborted),
            (Error::Cancelled.into(), Code::Aborted),
            (sys(Errno::ENOSPC).into(), Code::ResourceExhausted),
            (sys(Errno::EDQUOT).into(), Code::ResourceExhausted),
            (sys(Errno::ETIMEDOUT).into(), Code::DeadlineExceeded),
            (sys(Errno::EIO).into(), Code::Internal),
            (sys(Errno::EACCES).into(), Code::FailedPrecondition),
            (sys(Errno::EPERM).into(), Code::FailedPrecondition),
            (
                Error::from(SysError::new("unmount", "/var/lib/kubelet/x", Errno::EPERM)).into(),
                Code::Internal,
            ),
            (Error::Several(vec![sys(Errno::ENOSPC), sys(Errno::EIO)]).into(), Code::ResourceExhausted),
            (
                Error::from(MountError::Unreachable { export, port: 2049, tried: Vec::new() }).into(),
                Code::Internal,
            ),
            (CallError::InFlight(Duration::ZERO), Code::Aborted),
            (CallError::Crowded(1, String::new()), Code::Aborted),
            (CallError::Slow(Duration::ZERO), Code::DeadlineExceeded),
            (CallError::Panicked, Code::Internal),
        ];
        for (error, code) in table {
            assert_eq!(error.code(), code, "{error:?}");
        }
    }

    #[test]
    fn the_message_reaches_the_caller_whole() {
        let status = Status::from(CallError::from(sys(nix::errno::Errno::EIO)));
        assert_eq!(status.message(), "mkdir nas:/srv/x: Input/output error (os error 5)");
    }
}
