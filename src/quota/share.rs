//! A share on this machine, and how its changes are noticed.

use std::collections::HashMap;
use std::fs::File;
use std::sync::mpsc::Sender;

use anyhow::{Context, bail};

use crate::config::quota::LocalShare;
use crate::linux::quota::{Limits, try_lock};
use crate::linux::watch::{Change, Watch};
use crate::linux::{Dir, SysError};
use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::claims::look::{LocalRecords, Stamp};
use crate::volume::share::process_dir;
use crate::volume::share::quota::{Agent, QuotaFolder, Report};

use super::event::Event;

/// A share.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) dir: Dir,
    /// The device number of its file system.
    pub(super) device: (u32, u32),
    /// The size of its file system, when all volumes were last looked at.
    pub(super) total_bytes: u64,
    /// `None` until a controller has made the state directory.
    pub(super) state: Option<State>,
}

/// What the agent uses of the state directory.
#[derive(Debug)]
pub(super) struct State {
    pub(super) records: LocalRecords,
    pub(super) folder: QuotaFolder,
    /// What was found at the last look.
    pub(super) known: HashMap<VolumeKey, Known>,
    /// What was last said of the agent.
    pub(super) introduction: Agent,
    /// What is in the trash: the inode number of each directory, and its project.
    pub(super) trash: HashMap<u64, u32>,
    _lock: File,
}

/// What is known of a volume that has its project. As long as nothing of it changes, nothing has to be done for the volume.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) stamp: Stamp,
    pub(super) sub_dir: SubDir,
    pub(super) limits: Limits,
    /// What was written.
    pub(super) report: Report,
}

impl Share {
    pub(super) fn open(share: &LocalShare) -> anyhow::Result<Self> {
        let path = &share.path;
        let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
        let dir = Dir::open(&path)?.with_label(&share.name);
        let (device, total_bytes) = (dir.fresh()?.device, dir.usage()?.total_bytes);
        Ok(Self { dir, device, total_bytes, state: None })
    }

    /// Opens the state directory if it exists by now, and watches it. Changes go to `events`. Returns whether it was opened just now.
    pub(super) fn open_state(
        &mut self,
        number: usize,
        agent: &Agent,
        events: &Sender<Event>,
    ) -> anyhow::Result<bool> {
        if self.state.is_some() {
            return Ok(false);
        }
        let Some(records) = LocalRecords::open(&self.dir)? else { return Ok(false) };
        let folder = QuotaFolder::create(records.state())?;
        let Some(lock) = try_lock(folder.dir())? else {
            bail!("{}: another agent works on this share: only one may run", self.dir.label());
        };
        let watch = Watch::of(records.folder())?;
        let events = events.clone();
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || while forward(&watch, number, &events) {})
            .context("start a thread that watches the share")?;
        folder.introduce(agent)?;
        self.state = Some(State {
            records,
            folder,
            known: HashMap::new(),
            introduction: agent.clone(),
            trash: HashMap::new(),
            _lock: lock,
        });
        Ok(true)
    }

    /// The directories that are being filled for a volume, which have no place on the share yet.
    pub(super) fn drafts(&self, key: &VolumeKey) -> Result<Vec<Dir>> {
        let Some(state) = &self.state else { return Ok(Vec::new()) };
        process_dir::drafts_of_volume(state.records.state(), key)
    }
}

/// Waits for changes and passes them on. Returns whether there can be more.
fn forward(watch: &Watch, share: usize, events: &Sender<Event>) -> bool {
    let changes = match watch.wait() {
        Ok(changes) => changes,
        Err(error) => return lost(&error, share, events),
    };
    for change in changes {
        let event = match change {
            Change::Entry(name) => match LocalRecords::key_of(&name) {
                Some(key) => Event::Record(share, key),
                None => continue,
            },
            Change::Lost => Event::Lost,
            Change::Gone => {
                let _ = events.send(Event::Gone(share));
                return false;
            }
        };
        if events.send(event).is_err() {
            return false;
        }
    }
    true
}

fn lost(error: &SysError, share: usize, events: &Sender<Event>) -> bool {
    tracing::error!(%error, "changes of the share are only noticed by the regular look at all volumes");
    let _ = events.send(Event::Gone(share));
    false
}
