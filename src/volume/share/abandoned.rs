//! Takes over what processes have left in their directories when they were killed or cut off from the server.
//!
//! The clock of another machine cannot tell whether its process is alive. So an entry counts as abandoned when this process has seen the
//! entry, and the sign of life beside it unchanged, for a certain time by its own clock. This process then renames the entry to its own
//! directory. After that the rename by the process that made the entry, or by another observer, fails.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::linux::{Dir, Time};

use crate::volume::error::{Error, Result};
use crate::volume::share::process_dir::{ALIVE, Draft, FOLDER, ProcessDir, Sign, sign_of};
use crate::volume::share::state_dir::StateDir;

/// The largest sign of life that is read, in bytes.
const LONGEST_SIGN: u64 = 4096;
/// An empty directory is removed when its sign of life is this many times as old as that of a process that counts as dead. If its
/// process is alive after all, it creates a new directory.
const EMPTY_FOR: u32 = 10;

/// What this process has seen in the directories of other processes, and since when.
#[derive(Debug, Default)]
pub(super) struct Sightings(HashMap<(OsString, OsString), Sighting>);

#[derive(Debug, Clone, Copy)]
struct Sighting {
    sign: Option<Time>,
    since: Instant,
}

/// What one look at the other processes has found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Entries that were taken over. The caller removes them.
    pub(super) taken: Vec<Draft>,
    /// Whether other processes have entries that are not abandoned yet.
    pub(super) more: bool,
    /// What could not be examined or taken over.
    pub(super) failures: Vec<Error>,
}

impl Sightings {
    /// Looks at all other processes, and takes over what they have abandoned. NFS requests: GETATTR and READDIR for the folder, and for
    /// each process LOOKUP, GETATTR, GETATTR of its sign of life, and READDIR.
    pub(super) fn look(&mut self, state: &StateDir) -> Result<Findings> {
        let mut findings = Findings::default();
        let Some(processes) = state.existing_part(FOLDER)? else { return Ok(findings) };
        processes.fresh()?;
        let own = state.own_processes();
        let mut seen = HashMap::new();
        for process in processes.entries(usize::MAX)? {
            if own.iter().any(|own| process.name == own.name()) {
                continue;
            }
            match self.look_at(state, &processes, &process.name, &mut seen, &mut findings) {
                Err(error) if !error.is_gone() => findings.failures.push(error),
                _ => {}
            }
        }
        findings.more = !seen.is_empty();
        self.0 = seen;
        Ok(findings)
    }

    fn look_at(
        &self,
        state: &StateDir,
        processes: &Dir,
        process: &OsString,
        seen: &mut HashMap<(OsString, OsString), Sighting>,
        findings: &mut Findings,
    ) -> Result<()> {
        let dir = processes.open_dir(process)?;
        let sign = sign_of(&dir)?;
        let mut entries = dir.entries(usize::MAX)?;
        entries.retain(|entry| entry.name != ALIVE && !entry.name.as_encoded_bytes().starts_with(b".nfs"));
        if entries.is_empty() {
            return remove_if_old(state, processes, process, &dir, sign);
        }
        let mut limit = None;
        for entry in entries {
            let place = (process.clone(), entry.name);
            let new = Sighting { sign, since: Instant::now() };
            let sighting = self.0.get(&place).filter(|before| before.sign == sign).copied().unwrap_or(new);
            let limit = *limit.get_or_insert_with(|| longest_silence(&dir, state));
            if sighting.since.elapsed() < limit {
                seen.insert(place, sighting);
                continue;
            }
            match take(state, &dir, &place.1) {
                Ok(draft) => {
                    tracing::info!(process = %process.display(), entry = %place.1.display(), "abandoned, taken over");
                    findings.taken.push(draft);
                }
                Err(error) if error.is_gone() => {}
                Err(error) => {
                    seen.insert(place, sighting);
                    findings.failures.push(error);
                }
            }
        }
        Ok(())
    }
}

/// How long another process may give no sign of life: the time that this process is configured with, or the time that the other process
/// asks for if that is longer.
pub(super) fn longest_silence(dir: &Dir, state: &StateDir) -> Duration {
    let content = dir.read_file(ALIVE, LONGEST_SIGN).ok().flatten().unwrap_or_default();
    let asked = serde_json::from_slice(&content).map_or(0, |sign: Sign| sign.abandoned_after_ms);
    state.abandoned_after().max(Duration::from_millis(asked))
}

fn take(state: &StateDir, dir: &Dir, entry: &OsString) -> Result<Draft> {
    let name = entry.to_str().ok_or_else(|| {
        Error::Precondition(format!("{}: the driver does not make such names", entry.display()))
    })?;
    let process: std::sync::Arc<ProcessDir> = state.process()?;
    let draft = process.hold(name.to_owned());
    dir.rename(entry, draft.dir(), draft.name())?;
    Ok(draft)
}

/// Removes an empty directory if its process has given no sign of life for a long time by the clock of the server. A process that has just
/// made its directory has not given the first sign yet, so the last change of the directory counts as a sign, too.
fn remove_if_old(
    state: &StateDir,
    processes: &Dir,
    process: &OsString,
    dir: &Dir,
    sign: Option<Time>,
) -> Result<()> {
    let limit = longest_silence(dir, state).saturating_mul(EMPTY_FOR);
    let changed = dir.fresh()?.attributes.mtime;
    let last = sign.map_or(changed, |sign| sign.max(changed));
    let age = state.process()?.server_time()?.saturating_sub(last.seconds);
    if u64::try_from(age).unwrap_or(0) > limit.as_secs() {
        match dir.remove_file(ALIVE) {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => processes.remove_dir(process)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::sub_dir::STATE_DIR;

    const SOON: Duration = Duration::from_millis(300);

    fn share() -> (tempfile::TempDir, Dir) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        (temporary, dir)
    }

    #[test]
    fn the_drafts_of_the_living_stay_and_those_of_the_dead_are_taken_over() {
        let (_temporary, share) = share();
        let state = || StateDir::create(&share).unwrap().with_abandoned_after(SOON);
        let (living, dead, observer) = (state(), state(), state());
        let (kept, left) = (living.draft("kept").unwrap(), dead.draft("left").unwrap());
        kept.make_dir(0o700).unwrap();
        left.make_dir(0o700).unwrap();
        // A process gives signs of life only while it has a draft.
        drop(left);
        let mut sightings = Sightings::default();
        assert!(sightings.look(&observer).unwrap().taken.is_empty());
        let mut taken = Vec::new();
        for _ in 0..20 {
            std::thread::sleep(SOON / 2);
            let findings = sightings.look(&observer).unwrap();
            assert!(findings.more && findings.failures.is_empty());
            taken.extend(findings.taken);
        }
        let names: Vec<&str> = taken.iter().map(Draft::name).collect();
        assert!(names.len() == 1 && names[0].starts_with("left."), "{names:?}");
        kept.place(&share, "volume").unwrap();
        assert!(!sightings.look(&observer).unwrap().more);
    }

    #[test]
    fn an_empty_directory_without_a_sign_stays_while_it_is_new() {
        let (temporary, share) = share();
        let observer = StateDir::create(&share).unwrap().with_abandoned_after(SOON);
        observer.process().unwrap();
        let folder = temporary.path().join(STATE_DIR).join(FOLDER);
        let (new, old) = (folder.join("host.new"), folder.join("host.old"));
        for made in [&new, &old] {
            std::fs::create_dir(made).unwrap();
        }
        let long_ago = std::time::SystemTime::now() - SOON * EMPTY_FOR - Duration::from_secs(3);
        std::fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();
        Sightings::default().look(&observer).unwrap();
        assert!(new.exists(), "another process was about to use it");
        assert!(!old.exists());
    }
}
