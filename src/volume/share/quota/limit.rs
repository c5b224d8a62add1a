//! Whether volumes are limited to their sizes, as the server shows it to this client.
//!
//! The quota agent on the server sets the limits ([`super`]). What it writes can be forged by a root client. So a limit is in
//! force when the server's statfs of the directory shows it, whatever the agent says.

use std::time::{Duration, Instant};

use crate::linux::Dir;
use crate::linux::step;

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::policy::settings::QuotaPolicy;
use crate::volume::share::directory::find_now;
use crate::volume::share::health::{Finding, Trouble};
use crate::volume::share::quota::{FOLDER, QuotaFolder, Report};
use crate::volume::share::record::Record;
use crate::volume::share::state_dir::StateDir;

/// An NFS client shows sizes in blocks of up to 1 MiB, and the file system has limits in blocks of up to 64 KiB. Both round up.
const ROUNDING: u64 = (1 << 20) + (1 << 16);
/// How long a call waits for a limit.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same if the limit is only preferred.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
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
    /// Its size in bytes.
    pub(in crate::volume) size: u64,
    /// Whether the limit may be larger: that of a directory that existed before the volume stays.
    pub(in crate::volume) may_be_larger: bool,
}

impl<'a> Limit<'a> {
    /// The limit of a volume with this record, or `None` if there is none to be set.
    pub(in crate::volume) fn of(key: &'a VolumeKey, record: &'a Record, policy: QuotaPolicy) -> Option<Self> {
        let is_wanted = policy != QuotaPolicy::None && record.capacity_bytes > 0;
        let (name, size, may_be_larger) = (record.name.as_str(), record.capacity_bytes, record.found);
        is_wanted.then_some(Self { key, name, size, may_be_larger })
    }

    /// Whether the limit is in force for the directory `dir` of the share. NFS requests: two FSSTAT.
    pub(in crate::volume) fn is_in_force(&self, share: &Dir, dir: &Dir) -> Result<bool> {
        let (shown, whole) = (dir.usage()?.total_bytes, share.usage()?.total_bytes);
        // A volume as large as the file system is limited by the file system.
        let is_enough = self.size >= whole || shown >= self.size && shown < whole;
        Ok(is_enough
            && (self.size >= whole || self.may_be_larger || shown < self.size.saturating_add(ROUNDING)))
    }

    /// Waits until the limit is in force. If that takes too long, this is [`Error::Busy`] where a limit is required, and a warning in the log
    /// where it is preferred. NFS requests: two FSSTAT for each look, a SETATTR after the first one in vain, and in the end those of asking for
    /// the agent.
    pub(in crate::volume) fn wait(
        &self,
        share: &Dir,
        state: &StateDir,
        dir: &Dir,
        policy: QuotaPolicy,
    ) -> Result<()> {
        let patience = if policy == QuotaPolicy::Required { PATIENCE } else { SHORT_PATIENCE };
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        let _waits = step::pause(format!("the quota agent of {}", share.label()));
        while !self.is_in_force(share, dir)? {
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
        if !self.is_in_force(share, dir)? {
            let message = self.not_in_force(share, state)?;
            return Ok(Some(Finding { trouble: Trouble::QuotaNotInForce, message }));
        }
        let usage = dir.usage()?;
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
        let folder = state.existing_part(FOLDER)?.map(QuotaFolder::within).transpose()?.flatten();
        let why = match folder {
            None => {
                format!(
                    "no quota agent has worked on {share} yet: start `nfs-subdir-csi quota` on the NFS server"
                )
            }
            Some(folder) => self.why(&folder, state)?,
        };
        Ok(format!("volume {name:?} is not limited to {size} bytes: {why}"))
    }

    /// What the agent has to do with it. NFS requests: three for the time of the server, three for the agent, and four for the report.
    fn why(&self, folder: &QuotaFolder, state: &StateDir) -> Result<String> {
        let now = state.process()?.server_time()?;
        let Some((agent, sign)) = folder.last_sign()? else {
            return Ok("the quota agent on the NFS server has left no sign of life: start it".to_owned());
        };
        let silence = u64::try_from(now.saturating_sub(sign)).unwrap_or(0);
        if silence > agent.sign_seconds.saturating_mul(SIGNS) {
            return Ok(format!(
                "the quota agent on the NFS server gave its last sign of life {silence} s ago: start it again"
            ));
        }
        Ok(match folder.read(self.key)? {
            Some(Report { state, message, .. }) if !message.is_empty() => {
                format!("the quota agent says {state:?}: {message}")
            }
            Some(Report { state, .. }) => format!("the quota agent (mode {:?}) says {state:?}", agent.mode),
            None => "the quota agent has not seen the volume yet".to_owned(),
        })
    }
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
