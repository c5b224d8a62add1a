//! What a volume uses: as the server's statfs shows it, or as the agent has counted it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::linux::Dir;
use crate::linux::dir::Usage;

use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::quota::{QuotaFolder, Report};
use crate::volume::share::state_dir::StateDir;

/// What an agent has counted is not used any more when its last sign of life is so old by the clock of this machine. The clocks of servers and nodes
/// can differ, and a node that only reads has no way to ask the server for its time.
const OLDEST: Duration = Duration::from_mins(5);

/// What the agent says of a volume.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) folder: QuotaFolder,
    /// The report, if it is about this directory.
    pub(super) report: Option<Report>,
}

/// What the agent says of the volume `key` with the directory `dir`, if an agent has ever worked on the share. NFS requests: those of
/// [`QuotaFolder::on`], GETATTR, LOOKUP, OPEN and READ for the report, and GETATTR for the directory.
pub(super) fn word_on(state: &StateDir, key: &VolumeKey, dir: &Dir) -> Result<Option<Word>> {
    let Some(folder) = QuotaFolder::on(state)? else { return Ok(None) };
    let inode = dir.inode()?;
    let report = folder.read(key)?.filter(|report| report.project != 0 && report.directory == inode);
    Ok(Some(Word { folder, report }))
}

/// Bytes and inodes of a volume: those that the server's statfs of its directory shows, unless it shows the whole file system. Then they are what the
/// agent has counted, if it lives. NFS requests: two FSSTAT, and those of [`word_on`] and three more if the whole file system is shown.
pub(in crate::volume) fn usage_of(
    share: &Dir,
    state: &StateDir,
    key: &VolumeKey,
    dir: &Dir,
) -> Result<Usage> {
    let (shown, whole) = (dir.usage()?, share.usage()?);
    if shown.total_bytes < whole.total_bytes {
        return Ok(shown);
    }
    let Some(Word { folder, report: Some(report) }) = word_on(state, key, dir)? else { return Ok(shown) };
    Ok(match folder.last_sign()? {
        Some((_, sign)) if !is_old(sign) => counted(&report, &shown),
        _ => shown,
    })
}

/// Whether what an agent has counted is too old to be used, if this is its last sign of life.
pub(in crate::volume::share) fn is_old(sign: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    now.saturating_sub(u64::try_from(sign).unwrap_or(0)) > OLDEST.as_secs()
}

/// What the agent has counted, on a file system of which `whole` is shown. Without a limit, a volume can use what the file system has left.
fn counted(report: &Report, whole: &Usage) -> Usage {
    let part = |limit: u64, used: u64, total: u64, available: u64| match limit {
        0 => (total, available),
        limit => (limit.min(total), available.min(limit.saturating_sub(used))),
    };
    let (total_bytes, available_bytes) =
        part(report.limit_bytes, report.used_bytes, whole.total_bytes, whole.available_bytes);
    let (total_inodes, available_inodes) =
        part(report.limit_inodes, report.used_inodes, whole.total_inodes, whole.available_inodes);
    Usage {
        total_bytes,
        available_bytes,
        used_bytes: report.used_bytes,
        total_inodes,
        available_inodes,
        used_inodes: report.used_inodes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::share::quota::State;

    #[test]
    fn what_is_left_is_what_the_limit_and_the_file_system_leave() {
        let whole = Usage {
            total_bytes: 1000,
            available_bytes: 60,
            used_bytes: 940,
            total_inodes: 100,
            available_inodes: 90,
            used_inodes: 10,
        };
        let report = Report {
            limit_bytes: 200,
            used_bytes: 50,
            limit_inodes: 7,
            used_inodes: 9,
            ..Report::without_quota(State::Enforced, "")
        };
        let limited = counted(&report, &whole);
        assert_eq!((limited.total_bytes, limited.used_bytes, limited.available_bytes), (200, 50, 60));
        assert_eq!((limited.total_inodes, limited.used_inodes, limited.available_inodes), (7, 9, 0));
        let free = counted(&Report { limit_bytes: 0, limit_inodes: 0, ..report }, &whole);
        assert_eq!((free.total_bytes, free.used_bytes, free.available_bytes), (1000, 50, 60));
        assert_eq!((free.total_inodes, free.used_inodes, free.available_inodes), (100, 9, 90));
    }
}
