//! Whether volumes are limited to their sizes.
//!
//! The quota agent on the server sets the limits ([`super`]). What it writes can be forged by a root client. So a limit is in
//! force when the server's statfs of the directory shows it, whatever the agent says. Some servers, such as nfs-ganesha, show the whole
//! file system for every directory. There the agent's word counts. Which server is one of these is told by the agent's sample: a
//! directory that has a limit for certain.

use std::time::{Duration, Instant};

use crate::linux::Dir;
use crate::linux::step;

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::policy::settings::QuotaPolicy;
use crate::volume::share::directory::find_now;
use crate::volume::share::health::{Finding, Trouble};
use crate::volume::share::quota::usage::{Word, usage_of, word_on};
use crate::volume::share::quota::{Agent, QuotaFolder, Report, State};
use crate::volume::share::record::Record;
use crate::volume::share::state_dir::StateDir;

/// An NFS client shows sizes in blocks of up to 1 MiB, and the file system has limits in blocks of up to 64 KiB. Both round up.
const ROUNDING: u64 = (1 << 20) + (1 << 16);
/// How long a call waits for a limit while the agent lives. All that time, the call keeps its place among the calls to the export.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same if the limit is only preferred, or if no agent has ever worked on the share: it may be about to find the share.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
/// An agent that lives sets a limit sooner. After this time the call asks whether it lives, so that nobody waits for one that does not.
const ASK_AFTER: Duration = Duration::from_millis(200);
/// The first pause between two looks. Each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(640);
/// An agent that gives no sign of life for so many times its interval is silent.
const SIGNS: u64 = 4;
/// A volume with less than this part of its size left is nearly full.
const NEARLY_FULL: u64 = 20;

/// A volume that is to be limited.
#[derive(Debug, Clone, Copy)]
pub(in crate::volume) struct Limit<'a> {
    pub(in crate::volume) key: &'a VolumeKey,
    /// Its name in messages.
    pub(in crate::volume) name: &'a str,
    /// Its size in bytes; 0 if it was given none.
    pub(in crate::volume) size: u64,
    /// How many files and directories it may have; 0 for any number.
    pub(in crate::volume) inodes: u64,
    /// Whether the limit may be larger: that of a directory that existed before the volume stays.
    pub(in crate::volume) may_be_larger: bool,
}

impl<'a> Limit<'a> {
    /// The limit of a volume with this record, or `None` if there is none to be set.
    pub(in crate::volume) fn of(key: &'a VolumeKey, record: &'a Record, policy: QuotaPolicy) -> Option<Self> {
        let (size, inodes) = (record.capacity_bytes, record.inodes.unwrap_or(0));
        let is_wanted = policy != QuotaPolicy::None && (size > 0 || inodes > 0);
        let (name, may_be_larger) = (record.name.as_str(), record.found);
        is_wanted.then_some(Self { key, name, size, inodes, may_be_larger })
    }

    /// Whether the limit is in force for the directory `dir` of the share. NFS requests: two FSSTAT, and if they show no limit, those of
    /// [`word_on`] and of asking for the sample.
    fn is_in_force(&self, share: &Dir, state: &StateDir, dir: &Dir) -> Result<bool> {
        let (shown, whole) = (dir.usage()?, share.usage()?);
        // A volume as large as the file system is limited by the file system.
        let is_limited = self.size == 0
            || self.size >= whole.total_bytes
            || shown.total_bytes < whole.total_bytes && self.is_right(shown.total_bytes);
        // The number of inodes of some file systems changes all the time, so it is not compared with that of the share.
        if is_limited && self.are_right(shown.total_inodes) {
            return Ok(true);
        }
        if shown.total_bytes < whole.total_bytes {
            return Ok(false);
        }
        let Some(Word { folder, report: Some(report) }) = word_on(state, self.key, dir)? else {
            return Ok(false);
        };
        // The directory of a volume that is being filled has its limit, and the volume waits for its place.
        let is_set = matches!(report.state, State::Enforced | State::Waiting)
            && (self.size == 0 || report.limit_bytes > 0 && self.is_right(report.limit_bytes))
            && (self.inodes == 0 || report.limit_inodes > 0 && self.are_right(report.limit_inodes));
        Ok(is_set && !folder.shows_limits(share)?)
    }

    fn is_right(&self, bytes: u64) -> bool {
        bytes >= self.size && (self.may_be_larger || bytes < self.size.saturating_add(ROUNDING))
    }

    fn are_right(&self, inodes: u64) -> bool {
        self.inodes == 0 || self.may_be_larger || inodes <= self.inodes
    }

    /// Waits until the limit is in force. If that takes too long, this is [`Error::Busy`] where a limit is required, and a warning in the log
    /// where it is preferred. If the agent is silent, nothing is waited for. NFS requests: those of a look, a SETATTR after the first one in vain,
    /// and after some time and in the end those of asking for the agent.
    pub(in crate::volume) fn wait(
        &self,
        share: &Dir,
        state: &StateDir,
        dir: &Dir,
        policy: QuotaPolicy,
    ) -> Result<()> {
        let mut patience = if policy == QuotaPolicy::Required { PATIENCE } else { SHORT_PATIENCE };
        let (begun, mut pause, mut has_asked) = (Instant::now(), FIRST_PAUSE, false);
        let _waits = step::pause(format!("the quota agent of {}", share.label()));
        while !self.is_in_force(share, state, dir)? {
            if !has_asked && begun.elapsed() >= ASK_AFTER {
                has_asked = true;
                patience = match agent_on(state)? {
                    Presence::Lives(..) => patience,
                    Presence::Never => SHORT_PATIENCE,
                    Presence::Silent(_) => Duration::ZERO,
                };
            }
            if begun.elapsed() + pause > patience {
                let message = format!("{}; ask again", self.not_in_force(share, state)?);
                if policy == QuotaPolicy::Required {
                    return Err(Error::Busy(message));
                }
                tracing::warn!(message, "a volume is used without a limit");
                return Ok(());
            }
            if pause == FIRST_PAUSE {
                // The agent notices this, in case that it looked before the directory was there.
                state.touch_record(self.key)?;
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// What is wrong with the limit of the directory, if it is not in force or nearly reached. NFS requests: two FSSTAT, and those of asking for the
    /// agent if the limit is not in force.
    pub(in crate::volume) fn look(
        &self,
        share: &Dir,
        state: &StateDir,
        dir: &Dir,
    ) -> Result<Option<Finding>> {
        if !self.is_in_force(share, state, dir)? {
            let message = self.not_in_force(share, state)?;
            return Ok(Some(Finding { trouble: Trouble::QuotaNotInForce, message }));
        }
        let usage = usage_of(share, state, self.key, dir)?;
        let message = format!(
            "volume {:?} has {} of {} bytes left: remove files, or make it larger",
            self.name, usage.available_bytes, usage.total_bytes
        );
        let is_nearly_full = usage.available_bytes < usage.total_bytes / NEARLY_FULL;
        Ok(is_nearly_full.then_some(Finding { trouble: Trouble::NearlyFull, message }))
    }

    /// A text that says that the limit is not in force, and why.
    fn not_in_force(&self, share: &Dir, state: &StateDir) -> Result<String> {
        let (name, size, share) = (self.name, self.size, share.label());
        let why = match agent_on(state)? {
            Presence::Never => {
                format!(
                    "no quota agent has worked on {share} yet: start `nfs-subdir-csi quota` on the NFS server"
                )
            }
            Presence::Silent(None) => {
                "the quota agent on the NFS server has left no sign of life: start it".to_owned()
            }
            Presence::Silent(Some(seconds)) => format!(
                "the quota agent on the NFS server gave its last sign of life {seconds} s ago: start it again"
            ),
            Presence::Lives(folder, agent) => match folder.read(self.key)? {
                Some(Report { state, message, .. }) if !message.is_empty() => {
                    format!("the quota agent says {state:?}: {message}")
                }
                Some(Report { state, .. }) => {
                    format!("the quota agent (mode {:?}) says {state:?}", agent.mode)
                }
                None => "the quota agent has not seen the volume yet".to_owned(),
            },
        };
        let files = if self.inodes > 0 { format!(" and {} files", self.inodes) } else { String::new() };
        Ok(format!("volume {name:?} is not limited to {size} bytes{files}: {why}"))
    }
}

/// Whether there is an agent.
enum Presence {
    /// None has ever worked on the share.
    Never,
    /// Its last sign of life was so many seconds ago, or there is none.
    Silent(Option<u64>),
    /// It lives.
    Lives(QuotaFolder, Agent),
}

/// Whether an agent works on the share. NFS requests: those of [`QuotaFolder::on`], three for the time of the server, and three for the agent.
fn agent_on(state: &StateDir) -> Result<Presence> {
    let Some(folder) = QuotaFolder::on(state)? else { return Ok(Presence::Never) };
    let now = state.process()?.server_time()?;
    let Some((agent, sign)) = folder.last_sign()? else { return Ok(Presence::Silent(None)) };
    let silence = u64::try_from(now.saturating_sub(sign)).unwrap_or(0);
    if silence > agent.sign_seconds.saturating_mul(SIGNS) {
        return Ok(Presence::Silent(Some(silence)));
    }
    Ok(Presence::Lives(folder, agent))
}

/// What is wrong with the limit of a volume that has this record. NFS requests: GETATTR and LOOKUP, and those of [`Limit::look`]; none if the export
/// expects no limits.
pub(in crate::volume) fn look_for_limit(
    share: &Dir,
    state: &StateDir,
    (key, record): (&VolumeKey, &Record),
    policy: QuotaPolicy,
) -> Result<Option<Finding>> {
    let Some(limit) = Limit::of(key, record, policy) else { return Ok(None) };
    let Some(found) = find_now(share, &record.sub_dir)? else { return Ok(None) };
    limit.look(share, state, &found.dir)
}
