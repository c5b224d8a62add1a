//! The regular look at all volumes.
//!
//! Most volumes have not changed since the last time. For these it is enough to see that the record and the directory are the same, and what the
//! project uses: one statx(2) each, and one quotactl_fd(2) of those that list all projects. Now and then, every volume is looked at as if
//! nothing were known of it, which finds what only root on the server or a forger can change.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use crate::linux::Dir;
use crate::linux::quota::Quota;
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::quota::{Counts, Report, State};
use crate::volume::share::records::Pages;

use super::agent::Agent;
use super::event::Event;

/// Every so many looks, nothing that is known is used.
const THOROUGH: u64 = 20;
/// After so many volumes, what has happened meanwhile is attended to.
const STRIDE: usize = 16;

/// What holds for one look at all volumes.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// How many looks there were before.
    number: u64,
    /// Limits and usage of all projects when the look began.
    pub(super) quotas: HashMap<u32, Quota>,
    /// What was counted so far of the share that is looked at.
    pub(super) counts: Counts,
    count: u64,
    unchanged: u64,
}

impl Agent {
    /// Looks at all volumes, writes their reports, and clears what belongs to volumes that do not exist any more.
    pub(super) fn look_at_all(&mut self, received: &Receiver<Event>) {
        let begun = Instant::now();
        let looked = self.try_look_at_all(received);
        let quotas = std::mem::take(&mut self.pass.quotas);
        let ended = match looked {
            Ok(()) => self.ids.end_pass(&self.file_system, &quotas),
            // The ids of the others are not known, so nothing is forgotten.
            Err(error) => Err(error),
        };
        self.pass.number += 1;
        let Pass { count, unchanged, .. } = self.pass;
        let seconds = begun.elapsed().as_secs_f64();
        match ended {
            Ok(cleared) => tracing::debug!(count, unchanged, cleared, seconds, "looked at all volumes"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), count, "not all volumes were looked at");
            }
        }
    }

    fn try_look_at_all(&mut self, received: &Receiver<Event>) -> anyhow::Result<()> {
        if let Err(error) = self.keep_samples() {
            let error = format!("{error:#}");
            tracing::warn!(error, "cannot limit the sample that tells what the server shows");
        }
        let quotas = self.ids.begin_pass(&self.file_system)?;
        self.pass = Pass { number: self.pass.number, quotas, ..Pass::default() };
        for share in 0..self.shares.len() {
            self.look_at_share(share, received)?;
        }
        Ok(())
    }

    fn look_at_share(&mut self, share: usize, received: &Receiver<Event>) -> Result<()> {
        let is_thorough = self.pass.number.is_multiple_of(THOROUGH);
        self.shares[share].total_bytes = self.shares[share].dir.usage()?.total_bytes;
        if is_thorough && let Some(state) = &mut self.shares[share].state {
            state.known.clear();
        }
        self.pass.counts = Counts::default();
        let mut pages = Pages::default();
        loop {
            let Some(state) = &self.shares[share].state else { return Ok(()) };
            let Some(keys) = pages.next_page(|after, limit| state.records.keys(after, limit))? else { break };
            for keys in keys.chunks(STRIDE) {
                for key in keys {
                    self.pass.count += 1;
                    let unchanged = if is_thorough { None } else { self.unchanged(share, key)? };
                    self.pass.unchanged += u64::from(unchanged.is_some());
                    if let Some(state) = unchanged.or_else(|| self.look_at(share, key)) {
                        self.pass.counts.add(state);
                    }
                }
                self.attend(received.try_iter().collect());
            }
        }
        self.tell_counts(share)?;
        if is_thorough { self.remove_old_reports(share) } else { Ok(()) }
    }

    /// The state of a volume for which nothing has to be done. What it uses is reported.
    fn unchanged(&mut self, share: usize, key: &VolumeKey) -> Result<Option<State>> {
        let share = &mut self.shares[share];
        let Some(state) = &mut share.state else { return Ok(None) };
        let Some(known) = state.known.get_mut(key) else { return Ok(None) };
        let Some(quota) = self.pass.quotas.get(&known.report.project) else { return Ok(None) };
        if quota.limits != known.limits
            || state.records.stamp(key)? != Some(known.stamp)
            || inode_of(&share.dir, &known.sub_dir)? != Some(known.report.directory)
        {
            return Ok(None);
        }
        self.ids.note(known.report.project, known.report.directory);
        let report =
            Report { used_bytes: quota.used_bytes, used_inodes: quota.used_inodes, ..known.report.clone() };
        if report != known.report {
            state.folder.replace(key, &report)?;
            known.report = report;
        }
        Ok(Some(known.report.state))
    }

    /// Removes the reports of volumes that have no record, and forgets these volumes.
    fn remove_old_reports(&mut self, share: usize) -> Result<()> {
        let Some(state) = &mut self.shares[share].state else { return Ok(()) };
        let mut pages = Pages::default();
        while let Some(keys) = pages.next_page(|after, limit| state.folder.keys(after, limit))? {
            for key in &keys {
                if !state.known.contains_key(key) && state.records.stamp(key)?.is_none() {
                    state.folder.remove(key)?;
                }
            }
        }
        Ok(())
    }
}

/// The inode number of a directory below the share. `None` if it does not exist, or if the way to it is not one of directories. One statx(2) for a
/// directory at the top of the share.
fn inode_of(share: &Dir, sub_dir: &SubDir) -> Result<Option<u64>> {
    let (parent, name) = sub_dir.split();
    let entry = match parent.map(|parent| share.open_place(parent)).transpose() {
        Err(error) if error.is_not_found() || error.is_unsafe_path() => return Ok(None),
        parent => parent?.as_ref().unwrap_or(share).entry(name).map_err(Error::from)?,
    };
    Ok(entry.map(|entry| entry.inode))
}
