//! The one table from the driver's errors to gRPC codes.

use std::io::ErrorKind;
use std::time::Duration;

use tonic::{Code, Status};

use crate::cluster::ClusterError;
use crate::linux::step::Wait;
use crate::volume::error::Error;

/// The longest message, in bytes. Clients that use gRPC's C core refuse an answer with more than 8 KiB of headers, and the
/// message is one of them.
const LONGEST_MESSAGE: usize = 1000;

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The work has failed.
    #[error(transparent)]
    Volume(#[from] Error),
    /// Another call with the same guard is running.
    #[error("another call for this volume has been running for {:.1} s; ask again", .0.as_secs_f64())]
    InFlight(Duration),
    /// No place became free in the lane of this call. The call has not begun.
    #[error(
        "{running} {lane} are under way, which is as many as may run at once, and the oldest has been waiting for {:.0} s; \
         this call was not begun; ask again",
        longest.as_secs_f64()
    )]
    Crowded {
        /// How many calls run in the lane.
        running: usize,
        /// Which calls share the lane.
        lane: String,
        /// For how long the oldest of them has run.
        longest: Duration,
    },
    /// There are calls to as many exports as there can be lanes. The call has not begun.
    #[error(
        "calls to {0} exports are running, and there cannot be more at the same time; this call has not begun; ask again"
    )]
    TooManyExports(usize),
    /// The work takes longer than the caller waits. The work continues.
    #[error("{}", slow(*waited, wait, export.as_deref(), *unanswered))]
    Slow {
        /// For how long the call has been running.
        waited: Duration,
        /// What the work is waiting for.
        wait: Wait,
        /// The export, as `server:/share`, or which exports it may be.
        export: Option<String>,
        /// For how long the export has answered no call.
        unanswered: Duration,
    },
    /// The server of an export does not answer a question that is not asked for long. The text says which export, and since when.
    #[error("{0}")]
    Silent(String),
    /// The work ended in a panic.
    #[error("the driver has a bug: this call panicked; its log says where")]
    Panicked,
}

fn slow(waited: Duration, wait: &Wait, export: Option<&str>, unanswered: Duration) -> String {
    let check = match (wait.check, export) {
        (Some(check), _) => format!("; {check}"),
        (None, Some(export)) => {
            let seconds = unanswered.as_secs_f64();
            format!(
                "; {export} has answered no call for {seconds:.0} s: does the NFS server run, and can this node reach it?"
            )
        }
        (None, None) => ".".to_owned(),
    };
    format!(
        "after {:.0} s this call still waits for {}{check} The work goes on; ask again",
        waited.as_secs_f64(),
        wait.step
    )
}

impl CallError {
    /// The gRPC code.
    ///
    /// The CSI sidecars and kubelet understand some codes (ABORTED, `DEADLINE_EXCEEDED`, CANCELLED, UNAVAILABLE) as "the
    /// work may still go on". They are used only where that is true or where the call was not begun. A call that has ended
    /// without effect has a final code, so that nobody asks forever for a volume whose claim is gone.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Volume(error) => code_of(error),
            Self::InFlight(_) | Self::Crowded { .. } | Self::TooManyExports(_) => Code::Aborted,
            Self::Slow { .. } | Self::Silent(_) => Code::DeadlineExceeded,
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
        Error::Precondition(_)
        | Error::Denied(_)
        | Error::NotExported(_)
        | Error::Cluster(ClusterError::NoAccess(_) | ClusterError::Refused(_)) => Code::FailedPrecondition,
        Error::OutOfRange(_) => Code::OutOfRange,
        // An invalid starting_token is ABORTED (CSI specification, ListVolumes errors).
        Error::BadToken | Error::Busy(_) | Error::Cancelled => Code::Aborted,
        Error::Sys(error) => match error.source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::ResourceExhausted,
            // A soft mount gave up. Whether the server has done the operation is not known.
            ErrorKind::TimedOut => Code::DeadlineExceeded,
            // Only whoever has mounted another file system on the server can change that.
            ErrorKind::CrossesDevices => Code::FailedPrecondition,
            _ => Code::Internal,
        },
        // The specification uses PERMISSION_DENIED for identities in secrets. What an NFS server denies is INTERNAL.
        Error::Mount(_) | Error::BadRecord { .. } | Error::Namespace(_) => Code::Internal,
        // Nothing has been begun.
        Error::Cluster(ClusterError::Unreachable { .. }) => Code::Unavailable,
        Error::Several(errors) => errors.first().map_or(Code::Internal, code_of),
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        Self::new(error.code(), cap(error.to_string()))
    }
}

/// Cuts a message that is too long, and says how much is missing.
pub(super) fn cap(text: String) -> String {
    if text.len() <= LONGEST_MESSAGE {
        return text;
    }
    // This leaves room for the note.
    let end = text.floor_char_boundary(LONGEST_MESSAGE - 60);
    format!("{}… ({} more bytes were left out)", &text[..end], text.len() - end)
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
            (Error::from(ClusterError::NoAccess(String::new())).into(), Code::FailedPrecondition),
            (Error::from(ClusterError::Refused(403)).into(), Code::FailedPrecondition),
            (
                Error::from(ClusterError::Unreachable { server: String::new(), reason: String::new() })
                    .into(),
                Code::Unavailable,
            ),
            (Error::BadToken.into(), Code::Aborted),
            (Error::Busy(String::new()).into(), Code::Aborted),
            (Error::Cancelled.into(), Code::Aborted),
            (sys(Errno::ENOSPC).into(), Code::ResourceExhausted),
            (sys(Errno::EDQUOT).into(), Code::ResourceExhausted),
            (sys(Errno::ETIMEDOUT).into(), Code::DeadlineExceeded),
            (sys(Errno::EIO).into(), Code::Internal),
            (sys(Errno::EXDEV).into(), Code::FailedPrecondition),
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
            (CallError::Crowded { running: 16, lane: String::new(), longest: Duration::ZERO }, Code::Aborted),
            (CallError::TooManyExports(256), Code::Aborted),
            (slow_call(), Code::DeadlineExceeded),
            (CallError::Silent(String::new()), Code::DeadlineExceeded),
            (CallError::Panicked, Code::Internal),
        ];
        for (error, code) in table {
            assert_eq!(error.code(), code, "{error:?}");
        }
    }

    fn slow_call() -> CallError {
        CallError::Slow {
            waited: Duration::from_secs(89),
            wait: Wait {
                step: "mount(2) of nas:/srv with NFS 4.2 from 10.0.0.5:2049".to_owned(),
                check: None,
            },
            export: Some("nas:/srv".to_owned()),
            unanswered: Duration::from_mins(2),
        }
    }

    #[test]
    fn a_slow_call_names_its_step_the_export_and_since_when_it_is_silent() {
        assert_eq!(
            slow_call().to_string(),
            "after 89 s this call still waits for mount(2) of nas:/srv with NFS 4.2 from 10.0.0.5:2049; nas:/srv has answered \
             no call for 120 s: does the NFS server run, and can this node reach it? The work goes on; ask again"
        );
    }

    #[test]
    fn a_slow_call_that_asks_somebody_else_does_not_blame_the_nfs_server() {
        let wait =
            Wait { step: "the resolution of the name nas".to_owned(), check: Some("is the resolver up?") };
        let slow = slow(Duration::from_secs(4), &wait, Some("nas:/srv"), Duration::from_secs(4));
        let told = "after 4 s this call still waits for the resolution of the name nas; is the resolver up? The work goes on; ask again";
        assert_eq!(slow, told);
    }

    #[test]
    fn a_long_message_is_cut_and_says_how_much_is_missing() {
        let long = |length: usize| Status::from(CallError::from(Error::NotFound("ä".repeat(length))));
        assert_eq!(long(500).message().len(), 1000, "it fits");
        let message = long(9000).message().to_owned();
        assert!(message.len() <= LONGEST_MESSAGE, "{}", message.len());
        assert!(message.ends_with("… (17060 more bytes were left out)"), "{message}");
    }

    #[test]
    fn the_message_reaches_the_caller_whole() {
        let status = Status::from(CallError::from(sys(nix::errno::Errno::EIO)));
        assert_eq!(status.message(), "mkdir nas:/srv/x: Input/output error (os error 5)");
    }
}
