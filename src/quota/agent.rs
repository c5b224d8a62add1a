//! The agent: it waits for changes of records, and looks at all volumes regularly (`pass.rs`).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::config::quota::{AgentArgs, ProjectRange};
use crate::linux::quota::{FileSystem, Limits, Project, ProjectQuotas};
use crate::volume::name::handle::VolumeKey;
use crate::volume::share::quota::{Agent as Introduction, Mode, State};

use super::event::Event;
use super::ids::Ids;
use super::pass::Pass;
use super::share::{Known, Share};
use super::tagging::{self, Ended, Job};
use super::volume::Settled;

/// How often the agent gives a sign of life.
const SIGN: Duration = Duration::from_secs(5);
/// How often the agent looks whether a share has got a state directory, and whether a directory that it waits for is there.
const SOON: Duration = Duration::from_millis(100);
/// How long the agent waits like that for one directory. After that, the regular look at all volumes finds it.
const PATIENCE: Duration = Duration::from_mins(1);

/// The limit of the samples: less than any file system with volumes has, and shown as it is in blocks of every size.
const SAMPLE_BYTES: u64 = 1 << 20;

/// The agent of one file system.
pub(super) struct Agent {
    pub(super) mode: Mode,
    pub(super) limit_over: bool,
    /// The project ids of volumes.
    pub(super) range: ProjectRange,
    /// The project id of the samples, which is the last one of the range that was given.
    sample: u32,
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
    pub(super) pass: Pass,
    next_look: Instant,
    next_sign: Instant,
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
        let (range, sample) = args.projects.without_last();
        let ids = Ids::new(range, &file_system)?;
        let ended = events.clone();
        let jobs = tagging::start(move |job| {
            let _ = ended.send(Event::Tagged(job));
        })
        .context("start a thread that gives files to projects")?;
        let introduction = Introduction {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: args.mode,
            sign_seconds: SIGN.as_secs(),
            counts: None,
        };
        Ok(Self {
            mode: args.mode,
            limit_over: args.limit_over,
            range,
            sample,
            file_system,
            shares,
            ids,
            tagging: HashSet::new(),
            jobs,
            introduction,
            events,
            waiting: HashMap::new(),
            pass: Pass::default(),
            next_look: Instant::now(),
            next_sign: Instant::now() + SIGN,
            _lock: lock,
        })
    }

    fn once(&mut self, received: &Receiver<Event>) -> anyhow::Result<()> {
        self.open_states();
        self.look_at_all(received);
        while !self.tagging.is_empty() {
            let event = received.recv().context("wait for the thread that gives files to projects")?;
            self.attend(vec![event]);
        }
        Ok(())
    }

    fn serve(&mut self, received: &Receiver<Event>, interval: Duration) -> anyhow::Result<()> {
        loop {
            if self.open_states() {
                self.next_look = Instant::now();
            }
            if Instant::now() >= self.next_look {
                self.next_look = Instant::now() + interval;
                self.look_at_all(received);
            }
            let is_busy = !self.waiting.is_empty() || self.shares.iter().any(|share| share.state.is_none());
            let wake = if is_busy { Instant::now() + SOON } else { self.next_look.min(self.next_sign) };
            match received.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => self.attend(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => bail!("all threads of the agent have ended"),
                Ok(first) => self.attend(std::iter::once(first).chain(received.try_iter()).collect()),
            }
        }
    }

    /// Gives a sign of life if it is time, and looks at the volumes that have changed and at those that may have their directory by now.
    pub(super) fn attend(&mut self, events: Vec<Event>) {
        if Instant::now() >= self.next_sign {
            self.sign();
            self.next_sign = Instant::now() + SIGN;
        }
        // One change of a record is several events.
        let mut due = self.take_waiting();
        for event in events {
            match event {
                Event::Record(share, key) => {
                    due.insert((share, key));
                }
                Event::Lost => self.next_look = Instant::now(),
                Event::Gone(share) => self.shares[share].state = None,
                Event::Tagged(job) => self.end_tagging(job),
            }
        }
        for (share, key) in due {
            self.look_at(share, &key);
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
                    state.folder.sign().or_else(|_| state.folder.introduce(&state.introduction))
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

    /// Sees to it that each share has a directory with a limit, by which a driver finds out whether the server shows limits.
    pub(super) fn keep_samples(&self) -> anyhow::Result<()> {
        if self.mode == Mode::Observe {
            return Ok(());
        }
        let wanted = Project { id: self.sample, inherits: true };
        for state in self.shares.iter().filter_map(|share| share.state.as_ref()) {
            let dir = state.folder.make_sample()?;
            if dir.project()? != wanted {
                dir.set_project(wanted)?;
            }
        }
        let limits = Limits { bytes: SAMPLE_BYTES, ..Limits::default() };
        if self.file_system.quota(self.sample)?.limits != limits {
            self.file_system.set_limits(self.sample, limits)?;
        }
        Ok(())
    }

    /// Does for one volume what has to be done, and writes its report. Returns its state, unless that is not known or there is no such volume.
    pub(super) fn look_at(&mut self, share: usize, key: &VolumeKey) -> Option<State> {
        let place = (share, key.clone());
        let settled = match self.settle(share, key) {
            Ok(settled) => settled,
            Err(error) => {
                tracing::error!(volume = %key, %error, "cannot limit a volume");
                self.waiting.remove(&place);
                return None;
            }
        };
        let found = settled.as_ref().map(|settled| settled.report.state);
        match found {
            Some(State::Waiting) => {
                self.waiting.entry(place).or_insert_with(Instant::now);
            }
            _ => {
                self.waiting.remove(&place);
            }
        }
        let Some(state) = &mut self.shares[share].state else { return found };
        state.known.remove(key);
        let written = match &settled {
            Some(Settled { report, .. }) => state.folder.write(key, report),
            None => state.folder.remove(key),
        };
        match (written, settled) {
            (Err(error), _) => {
                tracing::warn!(volume = %key, %error, "cannot write what was done with a volume");
            }
            (Ok(()), Some(Settled { report, unchanged: Some((stamp, sub_dir, limits)) })) => {
                state.known.insert(key.clone(), Known { stamp, sub_dir, limits, report });
            }
            (Ok(()), _) => {}
        }
        found
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
