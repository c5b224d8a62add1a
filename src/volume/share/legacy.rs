//! What version 0.1.0 has left on a share: the folders `trash/` and `work/`, from which its controllers and node services remove
//! everything by its age. This version does not write to them. It empties them with more care.

use crate::linux::dir::Entry;
use crate::linux::remove::{Pace, remove_tree};
use crate::linux::{Dir, Time};

use crate::volume::error::{Error, Result};
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::state_dir::StateDir;

/// A draft in which nothing has changed for this many seconds is abandoned: no copy of version 0.1.0 stands still for a day.
const DRAFT_AGE: i64 = 24 * 60 * 60;

/// Levels of a tree in which changes are looked for. Each level takes memory of the thread, and tenants make trees.
pub(super) const DEEPEST: usize = 256;

/// Removes what may be removed now. `policy` says how long deleted volumes are kept, because the names that 0.1.0 gave do not say it.
/// Returns whether something is left, and why it could not be removed.
pub(super) fn sweep(state: &StateDir, policy: ExportPolicy) -> (bool, Vec<Error>) {
    let retention = i64::try_from(policy.trash_retention.as_secs()).unwrap_or(i64::MAX);
    let (mut left, mut failures) = (false, Vec::new());
    for (folder, age, pace) in [("trash", retention, policy.removals_per_second), ("work", DRAFT_AGE, None)] {
        match sweep_folder(state, folder, age, &Pace::new(pace), &mut failures) {
            Ok(some) => left |= some,
            Err(error) => failures.push(error),
        }
    }
    (left, failures)
}

fn sweep_folder(
    state: &StateDir,
    folder: &str,
    age: i64,
    pace: &Pace,
    failures: &mut Vec<Error>,
) -> Result<bool> {
    let Some(dir) = state.existing_part(folder)? else { return Ok(false) };
    let entries = dir.entries(usize::MAX)?;
    if entries.is_empty() {
        return Ok(false);
    }
    let now = state.process()?.server_time()?;
    let mut left = false;
    for entry in entries {
        let oldest_kept = now.saturating_sub(age);
        let is_young = match folder {
            // The deletion renamed the directory, and that set its ctime. So the ctime is not before the deletion.
            "trash" => changed(&dir, &entry)?.is_some_and(|time| age > 0 && time.seconds >= oldest_kept),
            _ => changed_since(&dir, &entry, oldest_kept, DEEPEST)?,
        };
        if is_young {
            left = true;
        } else if let Err(errors) = remove_tree(&dir, &entry.name, pace) {
            left = true;
            failures.extend(errors.into_iter().map(Error::from));
        }
    }
    Ok(left)
}

fn changed(dir: &Dir, entry: &Entry) -> Result<Option<Time>> {
    Ok(dir.fresh_entry(&entry.name)?.map(|status| status.ctime))
}

/// Whether anything in a tree has changed since `time`, by the clock of the server. Does not look below `depth` levels.
pub(super) fn changed_since(dir: &Dir, entry: &Entry, time: i64, depth: usize) -> Result<bool> {
    let Some(changed) = changed(dir, entry)? else { return Ok(false) };
    if changed.seconds >= time || entry.is_dir == Some(false) || depth == 0 {
        return Ok(changed.seconds >= time);
    }
    let inner = match dir.open_dir(&entry.name) {
        Err(error) if error.is_not_found() || error.is_unsafe_path() => return Ok(false),
        opened => opened?,
    };
    for entry in inner.entries(usize::MAX)? {
        if changed_since(&inner, &entry, time, depth - 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_trash_is_kept_as_long_as_the_configuration_says_and_a_young_draft_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let state = StateDir::create(&Dir::open(temporary.path()).unwrap()).unwrap();
        let part = |path: &str| temporary.path().join(".nfs-subdir-csi").join(path);
        std::fs::create_dir_all(part("trash/v.1/deep/er")).unwrap();
        std::fs::create_dir_all(part("work/v.2/deep")).unwrap();
        let kept = ExportPolicy { trash_retention: Duration::from_hours(1), ..ExportPolicy::default() };
        let (left, failures) = sweep(&state, kept);
        assert!(left && failures.is_empty(), "{failures:?}");
        assert!(part("trash/v.1/deep/er").exists());
        let (left, failures) = sweep(&state, ExportPolicy::default());
        assert!(left && failures.is_empty(), "{failures:?}");
        assert!(!part("trash/v.1").exists() && part("work/v.2/deep").exists());
    }

    #[test]
    fn a_draft_is_as_young_as_the_youngest_thing_in_it() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temporary.path().join("v/deep")).unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        let entry = &dir.entries(1).unwrap()[0];
        let now = changed(&dir, entry).unwrap().unwrap().seconds;
        assert!(changed_since(&dir, entry, now, DEEPEST).unwrap());
        assert!(!changed_since(&dir, entry, now + 2, DEEPEST).unwrap());
        std::thread::sleep(Duration::from_millis(2100));
        std::fs::write(temporary.path().join("v/deep/file"), "").unwrap();
        assert!(changed_since(&dir, entry, now + 2, DEEPEST).unwrap());
        assert!(!changed_since(&dir, entry, now + 2, 0).unwrap(), "the change is one level below");
    }
}
