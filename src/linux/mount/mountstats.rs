//! The kernel's counters of each NFS mount, `/proc/self/mountstats`.
//!
//! Reading them sends no request to a server, and waits for none. All mounts of one superblock have the same counters, so they include what
//! pods do by way of bind mounts.

use std::path::{Path, PathBuf};

use super::mountinfo::unescape;
use crate::linux::error::{Result, SysError};

const MOUNTSTATS: &str = "/proc/self/mountstats";

/// The counters of one NFS mount since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NfsCounters {
    /// Requests that were answered.
    pub requests: u64,
    /// How often one of them was sent again.
    pub retransmissions: u64,
    /// How often the client waited for its whole time limit (`timeo` and `retrans` in nfs(5)).
    pub timeouts: u64,
    /// The time between sending a request and its answer, summed up over all requests.
    pub round_trip_ms: u64,
    /// Bytes that were read from the server.
    pub read_bytes: u64,
    /// Bytes that were written to the server.
    pub written_bytes: u64,
    /// How often the server has copied a part of a file by itself (COPY of NFS 4.2).
    pub server_copies: u64,
}

/// The counters of all NFS mounts, with their mount points.
#[derive(Debug, Default)]
pub struct MountStats(Vec<(PathBuf, NfsCounters)>);

impl MountStats {
    /// Reads the counters of the mounts that this process sees.
    pub fn read() -> Result<Self> {
        let text = std::fs::read(MOUNTSTATS).map_err(|e| SysError::new("read", MOUNTSTATS, e))?;
        Ok(Self::parse(&text))
    }

    /// The counters of the topmost NFS mount with exactly this mount point.
    #[must_use]
    pub fn at(&self, place: &Path) -> Option<&NfsCounters> {
        self.0.iter().rev().find(|(mount_point, _)| mount_point == place).map(|(_, counters)| counters)
    }

    /// Parses the content of the file. Ignores lines that it does not know.
    fn parse(text: &[u8]) -> Self {
        let mut mounts = Vec::new();
        let mut is_nfs = false;
        let mut in_operations = false;
        for line in text.split(|&byte| byte == b'\n') {
            if let Some(rest) = line.strip_prefix(b"device ") {
                let mount_point = mount_point_of_nfs(rest);
                (is_nfs, in_operations) = (mount_point.is_some(), false);
                mounts.extend(mount_point.map(|place| (place, NfsCounters::default())));
                continue;
            }
            let Some((_, counters)) = mounts.last_mut().filter(|_| is_nfs) else { continue };
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            if line == "per-op statistics" {
                in_operations = true;
            } else if let Some((name, numbers)) = line.split_once(':') {
                let numbers: Vec<u64> =
                    numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
                if in_operations {
                    add_operation(counters, name, &numbers);
                } else if name == "bytes"
                    && let [_, _, _, _, read, written, ..] = numbers[..]
                {
                    (counters.read_bytes, counters.written_bytes) = (read, written);
                }
            }
        }
        Self(mounts)
    }
}

/// `SOURCE mounted on PLACE with fstype nfs4 statvers=1.1`. `None` if it is not NFS.
fn mount_point_of_nfs(line: &[u8]) -> Option<PathBuf> {
    // The kernel escapes spaces in names.
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [_, b"mounted", b"on", place, b"with", b"fstype", fs_type, ..] = words[..] else { return None };
    matches!(fs_type, b"nfs" | b"nfs4").then(|| PathBuf::from(unescape(place)))
}

/// `operations transmissions timeouts bytes-sent bytes-received queue-ms round-trip-ms execution-ms errors`
fn add_operation(counters: &mut NfsCounters, name: &str, numbers: &[u64]) {
    let [operations, transmissions, timeouts, _, _, _, round_trip, _, ref rest @ ..] = *numbers else {
        return;
    };
    if name == "COPY" {
        counters.server_copies += operations.saturating_sub(rest.first().copied().unwrap_or_default());
    }
    counters.requests += operations;
    counters.retransmissions += transmissions.saturating_sub(operations);
    counters.timeouts += timeouts;
    counters.round_trip_ms += round_trip;
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
device proc mounted on /proc with fstype proc
device 10.0.0.5:/srv mounted on /run/a\\040b with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2
\tage:\t77
\tevents:\t1 2 3 4 5 6 7
\tbytes:\t100 200 3 4 5000 6000 7 8
\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)
\txprt:\ttcp 0 0 1 0 0 12 12 0 12 0 2 0 0
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 2 3 0
\t        READ: 10 13 2 0 0 0 40 50 0
\t        COPY: 3 3 0 0 0 0 0 0 2
\t       BROKEN: 1 x
device tmpfs mounted on /tmp with fstype tmpfs
\tbytes:\t1 1 1 1 1 1 1 1
device h:/s mounted on /mnt with fstype nfs statvers=1.1
\tbytes:\t0 0 0 0 1 2 0 0
";

    #[test]
    fn recorded_counters_are_summed_up_over_the_operations_of_a_mount() {
        let stats = MountStats::parse(TEXT.as_bytes());
        let first = NfsCounters {
            requests: 14,
            retransmissions: 3,
            timeouts: 2,
            round_trip_ms: 42,
            read_bytes: 5000,
            written_bytes: 6000,
            server_copies: 1,
        };
        assert_eq!(stats.at(Path::new("/run/a b")), Some(&first));
        let second = NfsCounters { read_bytes: 1, written_bytes: 2, ..NfsCounters::default() };
        assert_eq!(stats.at(Path::new("/mnt")), Some(&second));
        assert_eq!(stats.at(Path::new("/tmp")), None);
    }

    #[test]
    fn any_cut_of_the_file_is_read_without_panic() {
        for end in 0..TEXT.len() {
            MountStats::parse(&TEXT.as_bytes()[..end]);
        }
    }
}
