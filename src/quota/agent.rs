//! The agent: it waits for changes of records, and looks at all volumes regularly.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::config::quota::{AgentArgs, ProjectRange};
use crate::linux::quota::{FileSystem, ProjectQuotas};
use crate::volume::error::Error;
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::quota::{Agent as Introduction, Mode, State};
use crate::volume::share::records::Pages;

use super::event::Event;
use super::ids::Ids;
use super::share::Share;
use super::tagging::{self, Ended, Job};

/// How often the agent gives a sign of life.
const SIGN: Duration = Duration::from_secs(5);
/// How often the agent looks whether a share has got a state directory, and whether a directory that it waits for is there.
const SOON: Duration = Duration::from_millis(100);
/// How long the agent waits like that for one directory. After that, the regular look at all volumes finds it.
const PATIENCE: Duration = Duration::from_mins(1);

/// The agent of one file system.
pub(super) struct Agent {
    pub(super) mode: Mode,
    pub(super) limit_over: bool,
    pub(super) range: ProjectRange,
    pub(super) file_system: FileSystem,
    pub(super) shares: Vec<Share>,
    pub(super) ids: Ids,
    /// The directories that are being given to a project, by their inode numbers.
    pub(super) tagging: HashSet<u64>,
    pub(super) jobs: Sender<Job>,
    introduction: Introduction,
    events: Sender<Event>,
    /// Volumes whose directory does not exist yet, and since when.
    waiting: HashMap<(usize, VolumeKey), Instant>,
    _lock: File,
}

/// Runs the agent, for ever unless `--once` is given.
pub(super) fn run(args: &AgentArgs) -> anyhow::Result<()> {
    let (events, received) = channel();
    let mut agent = Agent::new(args, events)?;
    if args.once {
        return agent.once(&received);
    }
    agent.serve(&received, args.interval)
}

impl Agent {
    fn new(args: &AgentArgs, events: Sender<Event>) -> anyhow::Result<Self> {
        let shares = args.shares.iter().map(Share::open).collect::<anyhow::Result<Vec<_>>>()?;
        let Some(first) = shares.first() else {
            bail!("no share is given: name each exported directory with --share PATH");
        };
        for share in &shares {
            if !share.dir.is_on_file_system_of(&first.dir)? {
                bail!(
                    "{} and {} are on different file systems: run one agent for each file system",
                    first.dir.label(),
                    share.dir.label()
                );
            }
        }
        let file_system = FileSystem::open(&first.dir)?;
        let quotas = file_system.project_quotas()?;
        let is_enough = match args.mode {
            Mode::Enforce => quotas == ProjectQuotas::Enforced,
            Mode::Observe => quotas != ProjectQuotas::Off,
        };
        if !is_enough {
            bail!(
                "{} is on {}, where project quotas are not switched on: `nfs-subdir-csi quota check {}` says what to change",
                first.dir.label(),
                file_system.kind,
                args.shares[0].path.display()
            );
        }
        let Some(lock) = file_system.try_lock()? else {
            bail!("another agent works on the file system of {}: only one may run", first.dir.label());
        };
        let ids = Ids::new(args.projects, &file_system)?;
        let ended = events.clone();
        let jobs = tagging::start(move |job| {
            let _ = ended.send(Event::Tagged(job));
        })
        .context("start a thread that gives files to projects")?;
        let introduction = Introduction {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: args.mode,
            sign_seconds: SIGN.as_secs(),
        };
        Ok(Self {
            mode: args.mode,
            limit_over: args.limit_over,
            range: args.projects,
            file_system,
            shares,
            ids,
            tagging: HashSet::new(),
            jobs,
            introduction,
            events,
            waiting: HashMap::new(),
            _lock: lock,
        })
    }

    fn once(&mut self, received: &Receiver<Event>) -> anyhow::Result<()> {
        self.open_states();
        self.look_at_all();
        while !self.tagging.is_empty() {
            if let Event::Tagged(job) =
                received.recv().context("wait for the thread that gives files to projects")?
            {
                self.end_tagging(job);
            }
        }
        Ok(())
    }

    fn serve(&mut self, received: &Receiver<Event>, interval: Duration) -> anyhow::Result<()> {
        let (mut next_look, mut next_sign) = (Instant::now(), Instant::now() + SIGN);
        loop {
            if self.open_states() {
                next_look = Instant::now();
            }
            if Instant::now() >= next_sign {
                self.sign();
                next_sign = Instant::now() + SIGN;
            }
            if Instant::now() >= next_look {
                self.look_at_all();
                next_look = Instant::now() + interval;
            }
            let is_busy = !self.waiting.is_empty() || self.shares.iter().any(|share| share.state.is_none());
            let wake = if is_busy { Instant::now() + SOON } else { next_look.min(next_sign) };
            let mut due: HashSet<(usize, VolumeKey)> = self.take_waiting();
            match received.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("all threads of the agent have ended"),
                Ok(first) => {
                    // One change of a record is several events.
                    for event in std::iter::once(first).chain(received.try_iter()) {
                        match event {
                            Event::Record(share, key) => {
                                due.insert((share, key));
                            }
                            Event::Lost => next_look = Instant::now(),
                            Event::Gone(share) => self.shares[share].state = None,
                            Event::Tagged(job) => self.end_tagging(job),
                        }
                    }
                }
            }
            for (share, key) in due {
                self.look_at(share, &key);
            }
        }
    }

    /// Opens the state directories that are there by now. Returns whether there was one.
    fn open_states(&mut self) -> bool {
        let mut opened = false;
        for (number, share) in self.shares.iter_mut().enumerate() {
            match share.open_state(number, &self.introduction, &self.events) {
                Ok(new) => opened |= new,
                Err(error) => {
                    tracing::error!(share = share.dir.label(), error = format!("{error:#}"), "cannot open");
                }
            }
        }
        opened
    }

    fn sign(&self) {
        for share in &self.shares {
            if let Some(state) = &share.state
                && let Err(error) =
                    state.folder.sign().or_else(|_| state.folder.introduce(&self.introduction))
            {
                tracing::warn!(share = share.dir.label(), %error, "cannot give a sign of life");
            }
        }
    }

    /// Takes the volumes that may have their directory by now. Those that have waited for long are forgotten.
    fn take_waiting(&mut self) -> HashSet<(usize, VolumeKey)> {
        self.waiting.retain(|_, since| since.elapsed() < PATIENCE);
        self.waiting.keys().cloned().collect()
    }

    /// Looks at all volumes, writes their reports, and clears what belongs to volumes that do not exist any more.
    fn look_at_all(&mut self) {
        let begun = Instant::now();
        let mut seen = HashMap::new();
        let mut count = 0u64;
        for share in 0..self.shares.len() {
            match self.look_at_share(share, &mut seen) {
                Ok(found) => count += found,
                Err(error) => {
                    tracing::error!(share = self.shares[share].dir.label(), %error, "not all volumes were looked at");
                    // The ids of the others are not known, so nothing is forgotten.
                    return;
                }
            }
        }
        self.ids.keep(seen);
        match self.ids.clear_unused(&self.file_system) {
            Ok(cleared) => tracing::debug!(
                count,
                cleared,
                seconds = begun.elapsed().as_secs_f64(),
                "looked at all volumes"
            ),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "cannot clear the limits of deleted volumes");
            }
        }
    }

    fn look_at_share(&mut self, share: usize, seen: &mut HashMap<u32, u64>) -> Result<u64, Error> {
        let (mut pages, mut count) = (Pages::default(), 0);
        loop {
            let Some(state) = &self.shares[share].state else { return Ok(count) };
            let Some(keys) = pages.next_page(|after, limit| state.records.keys(after, limit))? else { break };
            for key in &keys {
                if let Some(id) = self.look_at(share, key)
                    && let Some(inode) = self.ids.owner_of(id)
                {
                    seen.insert(id, inode);
                }
                count += 1;
            }
        }
        self.remove_old_reports(share)?;
        Ok(count)
    }

    /// Removes the reports of volumes that have no record.
    fn remove_old_reports(&self, share: usize) -> Result<(), Error> {
        let Some(state) = &self.shares[share].state else { return Ok(()) };
        let mut pages = Pages::default();
        while let Some(keys) = pages.next_page(|after, limit| state.folder.keys(after, limit))? {
            for key in &keys {
                if !state.records.exists(key)? {
                    state.folder.remove(key)?;
                }
            }
        }
        Ok(())
    }

    /// Does for one volume what has to be done, and writes its report. Returns its project id, if it has one.
    fn look_at(&mut self, share: usize, key: &VolumeKey) -> Option<u32> {
        let place = (share, key.clone());
        let report = match self.settle(share, key) {
            Ok(report) => report,
            Err(error) => {
                tracing::error!(volume = %key, %error, "cannot limit a volume");
                self.waiting.remove(&place);
                return None;
            }
        };
        match &report {
            Some(report) if report.state == State::Waiting => {
                self.waiting.entry(place).or_insert_with(Instant::now);
            }
            _ => {
                self.waiting.remove(&place);
            }
        }
        let state = self.shares[share].state.as_ref()?;
        let written = match &report {
            Some(report) => state.folder.write(key, report),
            None => state.folder.remove(key),
        };
        if let Err(error) = written {
            tracing::warn!(volume = %key, %error, "cannot write what was done with a volume");
        }
        report.map(|report| report.project).filter(|id| *id != 0)
    }

    fn end_tagging(&mut self, job: Ended) {
        self.tagging.remove(&job.inode);
        match job.result.and_then(|tagged| self.set_complete(job.id).map(|()| tagged)) {
            Ok(tagged) => tracing::info!(
                volume = %job.key,
                project = job.id,
                changed = tagged.changed,
                foreign = tagged.foreign,
                without_project = tagged.without_project,
                "the files of a volume were given to its project"
            ),
            Err(error) => {
                tracing::error!(volume = %job.key, %error, "not all files of a volume belong to its project");
                return;
            }
        }
        self.look_at(job.share, &job.key);
    }
}
