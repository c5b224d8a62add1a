//! Why an archive was not unpacked.

use crate::linux::error::SysError;

/// Why an archive was not unpacked. The caller removes the part that was unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// [`Progress::cancel`](crate::linux::copy::Progress::cancel) was called.
    #[error("unpacking was cancelled")]
    Cancelled,
    /// The archive is damaged, truncated or malicious.
    #[error("archive {archive}{}: {reason}", member.as_ref().map_or(String::new(), |member| format!(", member {member}")))]
    Malformed {
        /// Path of the archive.
        archive: String,
        /// The member that is wrong, with control characters escaped; `None` if the error is not about one member.
        member: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// The archive has more content than the limit allows.
    #[error("archive {archive}: there are more than {limit} bytes in it")]
    TooLarge {
        /// Path of the archive.
        archive: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A system call failed. Control characters in its path are escaped.
    #[error(transparent)]
    Sys(SysError),
}

/// `path` in a form that is safe for logs and terminals: control characters are escaped, and a long path is cut.
pub(super) fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 300;
    let mut text = String::new();
    for c in String::from_utf8_lossy(path).chars().take(LONGEST) {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}
