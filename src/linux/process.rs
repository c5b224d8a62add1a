//! Settings of the whole process, and numbers that no other call gets.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

/// A number that no other call in this process gets: the time in nanoseconds since 1970, or the last number
/// plus one if the clock has not advanced.
#[must_use]
pub fn unique() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let next = |last: u64| Some(now.max(last + 1));
    LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_or(now, |last| now.max(last + 1))
}

/// A text that no other process and no other call gets: letters, digits and `-`, at most 40 bytes.
#[must_use]
pub fn unique_text() -> String {
    static RUN: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    format!("{:x}-{:x}", unique(), *RUN)
}

/// The host name of this machine or pod (uname(2)), or an empty text if it cannot be read.
#[must_use]
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| String::new(), |name| name.trim().to_owned())
}

/// Sets the umask to 0: a new file or directory gets exactly the mode that a system call asks for.
pub fn clear_umask() {
    umask(Mode::empty());
}

/// Raises the limit of open files to the hard limit. A copy keeps two directories open for each level of a tree.
pub fn raise_open_files() -> std::io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
