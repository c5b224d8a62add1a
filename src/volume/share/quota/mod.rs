//! What the quota agent tells the driver: `quota/` in the state directory. The agent writes it on the server, and the driver reads it over NFS.
//!
//! ```text
//! quota/agent.json            which agent works on the share, and what it has counted; its time is the sign of life
//! quota/sample/               an empty directory with a limit: what the server's statfs shows of it tells whether the server shows limits
//! quota/volumes/<key>.json    what the agent has done with a volume, and how much the volume uses
//! ```
//! A root client of the export can write here, too. So this is never a reason to touch anything. Where the server shows limits, the driver
//! believes a limit only if the server's statfs shows it.

mod counts;
pub mod limit;
pub mod usage;

use serde::{Deserialize, Serialize};

use crate::linux::Dir;

use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::record::content_of;
use crate::volume::share::record::format;
use crate::volume::share::records::{each, file_of, first_keys};
use crate::volume::share::state_dir::StateDir;

pub use counts::Counts;

/// The folder in the state directory.
pub(super) const FOLDER: &str = "quota";
const REPORTS: &str = "volumes";
const AGENT: &str = "agent.json";
const SAMPLE: &str = "sample";
/// Only the driver and the agent may use these directories.
const MODE: u32 = 0o700;
/// The largest file that is read, in bytes.
const LONGEST: u64 = 4096;
/// The most bytes of a message in a report.
const LONGEST_MESSAGE: usize = 1000;

/// What the agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// What it does.
    pub mode: Mode,
    /// How often it gives a sign of life, in seconds.
    pub sign_seconds: u64,
    /// What it has counted on the share; `None` before its first look at all volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
}

/// What an agent does with volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Usage is counted and reported, and no limit is set.
    Observe,
    /// Volumes are limited to their sizes.
    Enforce,
}

/// What the agent has done with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The limit is in force.
    Enforced,
    /// The usage is counted. Nothing is limited, because the agent only observes or the volume was given no size.
    Counted,
    /// The volume used more than its size before there was a limit. It is not limited.
    Over,
    /// What is in the directory is being given to the project of the volume.
    Tagging,
    /// The directory does not exist yet.
    Waiting,
    /// The agent does not touch the directory. The message says why.
    Refused,
}

/// What the agent knows of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it has done.
    pub state: State,
    /// Why, and what to do about it; empty if all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The inode number of the directory that this is about, which NFS clients see, too; 0 if there is none. A volume that was deleted and
    /// created again has another one.
    #[serde(default)]
    pub directory: u64,
    /// The project id of the directory; 0 for none.
    pub project: u32,
    /// The limit in bytes; 0 for none.
    pub limit_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// The limit of files and directories; 0 for none.
    pub limit_inodes: u64,
    /// Files and directories in use, the directory itself included.
    pub used_inodes: u64,
}

impl Report {
    /// A report about a volume that the agent has not limited.
    #[must_use]
    pub fn without_quota(state: State, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        Self {
            state,
            message,
            directory: 0,
            project: 0,
            limit_bytes: 0,
            used_bytes: 0,
            limit_inodes: 0,
            used_inodes: 0,
        }
    }
}

/// The folder.
#[derive(Debug)]
pub struct QuotaFolder {
    top: Dir,
    reports: Dir,
    owner: Option<(u32, u32)>,
}

fn open_or_make(above: &Dir, name: &str, owner: Option<(u32, u32)>) -> Result<Dir> {
    let dir = above.open_or_make_dir(name, MODE)?;
    owner.map_or(Ok(()), |(uid, gid)| dir.set_owner(Some(uid), Some(gid)))?;
    Ok(dir)
}

impl QuotaFolder {
    /// Opens the folder in the state directory `state`, as the agent does. Creates it if it does not exist, for the user that the state
    /// directory belongs to: that is not root if the server squashes the driver.
    pub fn create(state: &Dir) -> Result<Self> {
        let (uid, gid, _) = state.ownership()?;
        let owner = ((uid, gid) != (0, 0)).then_some((uid, gid));
        let top = open_or_make(state, FOLDER, owner)?;
        Ok(Self { reports: open_or_make(&top, REPORTS, owner)?, top, owner })
    }

    /// The directory that the agent gives a limit, so that the driver sees whether the server shows limits. It is created if it does not exist.
    pub fn make_sample(&self) -> Result<Dir> {
        open_or_make(&self.top, SAMPLE, self.owner)
    }

    /// Whether the server shows limits, as the sample tells. Without a sample it counts as one that does. NFS requests: LOOKUP of the sample, and two
    /// FSSTAT.
    pub(in crate::volume) fn shows_limits(&self, share: &Dir) -> Result<bool> {
        match self.top.open_dir(SAMPLE) {
            Err(error) if error.is_not_found() => Ok(true),
            opened => Ok(opened?.usage()?.total_bytes < share.usage()?.total_bytes),
        }
    }

    /// Opens the folder in the state directory, if an agent was ever there.
    pub fn open(state: &Dir) -> Result<Option<Self>> {
        match state.open_dir(FOLDER) {
            Err(error) if error.is_not_found() => Ok(None),
            opened => Self::within(opened?),
        }
    }

    /// The folder on a share, if an agent was ever there. NFS requests: GETATTR and LOOKUP for the folder, and the same for that of the reports.
    pub(in crate::volume::share) fn on(state: &StateDir) -> Result<Option<Self>> {
        Ok(state.existing_part(FOLDER)?.map(Self::within).transpose()?.flatten())
    }

    /// The folder with this handle, if an agent has completed it.
    fn within(top: Dir) -> Result<Option<Self>> {
        // The agent may have made it since the client last looked.
        top.fresh()?;
        match top.open_dir(REPORTS) {
            Err(error) if error.is_not_found() => Ok(None),
            opened => Ok(Some(Self { reports: opened?, top, owner: None })),
        }
    }

    /// The folder itself, to lock it.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.top
    }

    /// Says which agent works here, which is also a sign of life.
    pub fn introduce(&self, agent: &Agent) -> Result<()> {
        Ok(self.top.replace_file(AGENT, &content_of(agent), self.owner)?)
    }

    /// Gives a sign of life: one utimensat(2).
    pub fn sign(&self) -> Result<()> {
        Ok(self.top.touch(AGENT)?)
    }

    /// What the agent says of itself, if there is one.
    pub fn agent(&self) -> Result<Option<Agent>> {
        let Some((_, content)) = self.top.read_regular(AGENT, LONGEST)? else { return Ok(None) };
        Ok(format::parse(&content).ok())
    }

    /// What the agent says of itself, and the time of its last sign of life by the clock of the server, in seconds since 1970. `None` if there is no
    /// agent. NFS requests: GETATTR and LOOKUP or GETATTR for the time, and OPEN and READ.
    pub fn last_sign(&self) -> Result<Option<(Agent, i64)>> {
        let Some(status) = self.top.fresh_entry(AGENT)? else { return Ok(None) };
        Ok(self.agent()?.map(|agent| (agent, status.attributes.mtime.seconds)))
    }

    /// Writes the report of a volume if it differs from the last one. Seven system calls if nothing has changed, and five more otherwise.
    pub fn write(&self, key: &VolumeKey, report: &Report) -> Result<()> {
        let (name, content) = (file_of(key), content_of(report));
        match self.reports.read_regular(&name, LONGEST) {
            Ok(Some((_, before))) if before == content => Ok(()),
            _ => Ok(self.reports.replace_file(&name, &content, self.owner)?),
        }
    }

    /// Writes the report of a volume, which differs from the last one. Five system calls.
    pub fn replace(&self, key: &VolumeKey, report: &Report) -> Result<()> {
        Ok(self.reports.replace_file(&file_of(key), &content_of(report), self.owner)?)
    }

    /// The report of a volume, if there is one that can be read. NFS requests: GETATTR, LOOKUP, OPEN and READ.
    pub fn read(&self, key: &VolumeKey) -> Result<Option<Report>> {
        // Without this, the client may remember that there was no report.
        self.reports.fresh()?;
        self.read_now(key)
    }

    fn read_now(&self, key: &VolumeKey) -> Result<Option<Report>> {
        let Some((_, content)) = self.reports.read_regular(file_of(key), LONGEST)? else { return Ok(None) };
        Ok(format::parse(&content).ok())
    }

    /// The reports of these volumes, in the same order. Those without one are left out. NFS requests: GETATTR, and OPEN, READ and CLOSE for each
    /// volume.
    pub(in crate::volume::share) fn read_all(&self, keys: &[VolumeKey]) -> Result<Vec<(VolumeKey, Report)>> {
        self.reports.fresh()?;
        each(keys, &|key| self.read_now(key))
    }

    /// Removes the report of a volume that does not exist any more.
    pub fn remove(&self, key: &VolumeKey) -> Result<()> {
        match self.reports.remove_file(file_of(key)) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The volumes with a report after `after`, in order, and at most `limit` of them.
    pub fn keys(&self, after: Option<&VolumeKey>, limit: usize) -> Result<Vec<VolumeKey>> {
        first_keys(&self.reports, ".json", after, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_report_is_written_when_it_changes_and_nonsense_is_no_report() {
        let temporary = tempfile::tempdir().unwrap();
        let state = Dir::open(temporary.path()).unwrap();
        assert!(QuotaFolder::open(&state).unwrap().is_none());
        let folder = QuotaFolder::create(&state).unwrap();
        let key = VolumeKey::of_name("pvc-1");
        let report = Report { project: 7, ..Report::without_quota(State::Enforced, "") };
        folder.write(&key, &report).unwrap();
        let path = temporary.path().join("quota/volumes/pvc-1.json");
        let first = path.metadata().unwrap().ino();
        folder.write(&key, &report).unwrap();
        assert_eq!(path.metadata().unwrap().ino(), first, "it was not written again");
        let changed = Report { used_bytes: 5, ..report };
        folder.write(&key, &changed).unwrap();
        let reader = QuotaFolder::open(&state).unwrap().unwrap();
        assert_eq!(reader.read(&key).unwrap(), Some(changed));
        assert_eq!(reader.keys(None, 9).unwrap(), std::slice::from_ref(&key));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(reader.read(&key).unwrap(), None);
        folder.remove(&key).unwrap();
        folder.remove(&key).unwrap();
        assert!(!path.exists());
        let agent = Agent { version: "1".to_owned(), mode: Mode::Observe, sign_seconds: 5, counts: None };
        folder.introduce(&agent).unwrap();
        assert_eq!(reader.agent().unwrap(), Some(agent));
        folder.sign().unwrap();
    }

    #[test]
    fn a_long_message_is_cut() {
        assert!(Report::without_quota(State::Refused, "ä".repeat(2000)).message.len() <= LONGEST_MESSAGE);
    }
}
