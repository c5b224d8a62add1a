//! A survey of one export: how much room it has, what lies on it, and what waits to be removed.

mod volumes;

use std::ffi::OsString;
use std::time::{Duration, Instant, SystemTime};

use crate::volume::error::Result;
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::share::deleted::Terms;
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::quota::usage::is_old;
use crate::volume::share::quota::{Counts, QuotaFolder};
use crate::volume::share::snapshots::store::SnapshotSets;
use crate::volume::share::state_dir::StateDir;

pub use volumes::OfVolume;

/// Of how many deleted directories the age is asked for, which takes two requests each.
const AGES: usize = 16;

/// What a survey has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// When it was made, by the clock of this host.
    pub made: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The size of the file system.
    pub total_bytes: u64,
    /// How much of it can still be used.
    pub available_bytes: u64,
    /// How many volumes have a record.
    pub volumes: u64,
    /// How many of the records this version cannot read.
    pub unreadable: u64,
    /// The sum of the capacities of the others.
    pub promised_bytes: u64,
    /// How many snapshots there are, each group counted as one.
    pub snapshots: u64,
    /// How many deleted directories wait to be removed.
    pub deleted: u64,
    /// When the oldest of them was deleted, in seconds since 1970 by the clock of the server.
    pub oldest_deleted: Option<i64>,
    /// When the quota agent gave its last sign of life, in seconds since 1970 by the clock of the server. `None` if no agent has ever worked on the
    /// share.
    pub agent: Option<i64>,
    /// What the quota agent has counted, if that sign is not old.
    pub counts: Option<Counts>,
    /// Single volumes, as many as were asked for, in the order of their keys.
    pub single: Vec<OfVolume>,
    /// How many more volumes there are, if single ones were asked for.
    pub left_out: Option<u64>,
}

/// Makes a survey with at most `most` single volumes. NFS requests: GETATTR and FSSTAT; for each volume OPEN, READ and CLOSE, and for each single
/// one the same for its report, if a quota agent lives; the READDIRs of four folders; two GETATTRs for each of [`AGES`] deleted directories; and at
/// most eight for the agent.
pub fn survey(mounted: &MountedExport, most: usize) -> Result<Survey> {
    let begun = Instant::now();
    let share = mounted.share();
    share.fresh()?;
    let usage = share.usage()?;
    let mut survey = Survey {
        made: SystemTime::now(),
        took: Duration::ZERO,
        total_bytes: usage.total_bytes,
        available_bytes: usage.available_bytes,
        volumes: 0,
        unreadable: 0,
        promised_bytes: 0,
        snapshots: 0,
        deleted: 0,
        oldest_deleted: None,
        agent: None,
        counts: None,
        single: Vec::new(),
        left_out: None,
    };
    if let Some(state) = mounted.existing_state()? {
        let single = &mut survey.single;
        let count = state.count(|key, record| {
            if single.len() < most {
                single.push(OfVolume::new(key, &record));
            }
        })?;
        (survey.volumes, survey.unreadable) = (count.volumes, count.unreadable);
        survey.promised_bytes = count.bytes;
        if let Some(folder) = QuotaFolder::on(&state)?
            && let Some((agent, sign)) = folder.last_sign()?
        {
            survey.agent = Some(sign);
            // As at every other place, what an agent has counted is not used when it has been silent for long.
            if !is_old(sign) {
                survey.counts = agent.counts;
                volumes::add_reports(&mut survey.single, &folder)?;
            }
        }
        for kind in [Kind::Single, Kind::Group] {
            survey.snapshots += SnapshotSets::open(&state, kind)?.map_or(Ok(0), |sets| sets.count())?;
        }
        (survey.deleted, survey.oldest_deleted) = look_at_deleted(&state)?;
    }
    let readable = survey.volumes - survey.unreadable;
    survey.left_out = (most > 0).then(|| readable.saturating_sub(survey.single.len() as u64));
    survey.took = begun.elapsed();
    Ok(survey)
}

/// How many deleted directories there are, and when the oldest of them was deleted. The oldest is looked for among those that are due first.
fn look_at_deleted(state: &StateDir) -> Result<(u64, Option<i64>)> {
    let Some(deleted) = state.existing_deleted()? else { return Ok((0, None)) };
    let mut count = 0;
    let mut first: Vec<(i64, OsString)> = Vec::new();
    deleted.for_each_entry(|entry| {
        count += 1;
        let due = entry.name.to_str().and_then(Terms::parse).map_or(0, |terms| terms.due);
        first.push((due, entry.name));
        if first.len() >= 2 * AGES {
            first.sort_unstable();
            first.truncate(AGES);
        }
    })?;
    first.sort_unstable();
    first.truncate(AGES);
    let mut oldest: Option<i64> = None;
    for (_, name) in first {
        // The deletion renamed the directory, and that set its ctime.
        if let Some(status) = deleted.fresh_entry(&name)? {
            let seconds = status.ctime.seconds;
            oldest = Some(oldest.map_or(seconds, |oldest| oldest.min(seconds)));
        }
    }
    Ok((count, oldest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::Dir;
    use crate::volume::name::handle::VolumeKey;
    use crate::volume::policy::settings::ExportPolicy;

    #[test]
    fn what_is_deleted_is_counted_with_the_time_of_the_oldest() {
        let temporary = tempfile::tempdir().unwrap();
        let share = Dir::open(temporary.path()).unwrap();
        let state = StateDir::create(&share).unwrap();
        let policy = ExportPolicy { trash_retention: Duration::from_hours(1), ..ExportPolicy::default() };
        let delete = |name: &str| {
            share.make_dir(name, 0o700).unwrap();
            assert!(state.discard(&share, name, &VolumeKey::of_name(name), policy).unwrap());
        };
        delete("old");
        let first = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        std::thread::sleep(Duration::from_millis(2100));
        delete("new");
        let (count, oldest) = look_at_deleted(&state).unwrap();
        assert_eq!(count, 2);
        let oldest = u64::try_from(oldest.unwrap()).unwrap();
        assert!(oldest.abs_diff(first) <= 1, "{oldest} {first}");
    }

    #[test]
    fn the_oldest_of_many_is_found() {
        let temporary = tempfile::tempdir().unwrap();
        let share = Dir::open(temporary.path()).unwrap();
        let state = StateDir::create(&share).unwrap();
        let delete = |name: &str, hours: u64| {
            share.make_dir(name, 0o700).unwrap();
            let policy =
                ExportPolicy { trash_retention: Duration::from_hours(hours), ..ExportPolicy::default() };
            state.discard(&share, name, &VolumeKey::of_name(name), policy).unwrap();
        };
        delete("old", 1);
        let first = share.fresh_entry(".nfs-subdir-csi").unwrap().unwrap().ctime.seconds;
        std::thread::sleep(Duration::from_millis(1100));
        (0..5 * AGES).for_each(|number| delete(&format!("new-{number}"), 1 + number as u64 % 7));
        let (count, oldest) = look_at_deleted(&state).unwrap();
        assert_eq!(count, 5 * AGES as u64 + 1);
        assert!(oldest.unwrap().abs_diff(first) <= 1, "{oldest:?} {first}");
    }
}
