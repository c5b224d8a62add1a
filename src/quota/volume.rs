//! What the agent does with one volume.

use crate::linux::Dir;
use crate::linux::quota::{Limits, Project, Quota};
use crate::volume::error::{Error, Result, refuse_unsafe};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::claims::look::Stamp;
use crate::volume::share::quota::{Mode, Report, State};
use crate::volume::share::record::Record;

use super::agent::Agent;
use super::tagging::Job;

/// The soft limit of inodes of a project whose directory was given to it completely. No directory has so many, so it limits nothing. It is a mark
/// that only the server's root can set, where the agent keeps no file of its own, and it is gone together with the project.
const COMPLETE: u64 = 1 << 48;

/// What was done with a volume.
pub(super) struct Settled {
    pub(super) report: Report,
    /// If nothing has to be done any more until this changes: the record, its directory, and the limits of the project.
    pub(super) unchanged: Option<(Stamp, SubDir, Limits)>,
}

impl From<Report> for Settled {
    fn from(report: Report) -> Self {
        Self { report, unchanged: None }
    }
}

/// The limits that a record asks for; 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    bytes: u64,
    inodes: u64,
}

/// What was found out about the project of a directory.
enum Membership {
    /// Everything in the directory belongs to the project, which has these limits and this usage.
    Complete(u32, Quota),
    /// This is being done.
    Tagging(u32),
    /// The directory is not touched, for this reason.
    Refused(String),
}

impl Agent {
    /// Gives a volume its project and its limit, as far as that is right, and says what is the case now. `None` if there is no such volume.
    ///
    /// System calls for a volume in which nothing has to be changed, with its directory at the top of the share: 8 to read the record and to
    /// see that it has its claim, 4 for the directory, and one quotactl_fd(2).
    pub(super) fn settle(&mut self, share: usize, key: &VolumeKey) -> Result<Option<Settled>> {
        let Some(state) = &self.shares[share].state else { return Ok(None) };
        let read = match state.records.read(key) {
            Ok(None) => return Ok(None),
            Ok(Some(read)) => read,
            Err(error) => return Ok(Some(refused(error.to_string()).into())),
        };
        if !read.is_claimed {
            let message = "the claim of its directory is not its own: another volume has the directory, or version 0.1.0 of the driver wrote \
                           the record, and no controller of this version has created a volume on this share yet";
            return Ok(Some(refused(message).into()));
        }
        match self.open_volume(share, &read.record.sub_dir) {
            Err(Error::Sys(error)) if error.is_not_found() => {
                let mut report = Report::without_quota(State::Waiting, "its directory does not exist yet");
                if read.record.source.is_some() {
                    for draft in self.shares[share].drafts(key)? {
                        let (of_draft, _) = self.settle_dir(share, key, &read.record, draft)?;
                        if of_draft.state == State::Enforced {
                            report = Report { state: State::Waiting, message: report.message, ..of_draft };
                        }
                    }
                }
                Ok(Some(report.into()))
            }
            Err(error) => Ok(Some(refused(error.to_string()).into())),
            Ok(dir) => {
                let (report, limits) = self.settle_dir(share, key, &read.record, dir)?;
                let is_settled = matches!(report.state, State::Enforced | State::Counted);
                let unchanged = is_settled.then_some((read.stamp, read.record.sub_dir, limits));
                Ok(Some(Settled { report, unchanged }))
            }
        }
    }

    /// Opens the directory of a volume, one component after the other. A directory inside of another volume is an error.
    fn open_volume(&self, share: usize, sub_dir: &SubDir) -> Result<Dir> {
        let top = &self.shares[share].dir;
        let mut components = sub_dir.as_str().split('/');
        let mut dir = top.open_dir(components.next().unwrap_or(".")).map_err(refuse_unsafe)?;
        for component in components {
            if self.ids.is_ours(dir.project()?.id) {
                return Err(Error::Precondition(format!(
                    "{} belongs to a volume, so a directory inside of it cannot be a volume",
                    dir.label()
                )));
            }
            dir = dir.open_dir(component).map_err(refuse_unsafe)?;
        }
        Ok(dir)
    }

    fn settle_dir(
        &mut self,
        share: usize,
        key: &VolumeKey,
        record: &Record,
        dir: Dir,
    ) -> Result<(Report, Limits)> {
        let status = dir.fresh()?;
        if status.device != self.shares[share].device {
            let message = format!("{} is on another file system than its share", dir.label());
            return Ok((refused(message), Limits::default()));
        }
        let directory = status.inode;
        let (id, quota) = match self.membership(share, key, dir, directory)? {
            Membership::Refused(message) => return Ok((refused(message), Limits::default())),
            Membership::Tagging(project) => {
                let message = "what is in the directory is being given to its project";
                let report = Report::without_quota(State::Tagging, message);
                return Ok((Report { directory, project, ..report }, Limits::default()));
            }
            Membership::Complete(id, quota) => (id, quota),
        };
        let wanted = self.wanted(share, record);
        let (limits, state) = self.limits_for(wanted, &quota);
        if limits != quota.limits {
            self.file_system.set_limits(id, limits)?;
            tracing::info!(volume = %key, project = id, bytes = limits.bytes, inodes = limits.inodes, "limited");
        }
        let message = if state == State::Over { over(&quota, wanted) } else { String::new() };
        let report = Report {
            directory,
            project: id,
            limit_bytes: limits.bytes,
            used_bytes: quota.used_bytes,
            limit_inodes: limits.inodes,
            used_inodes: quota.used_inodes,
            ..Report::without_quota(state, message)
        };
        Ok((report, limits))
    }

    /// What a volume is to be limited to: its size in whole blocks, and not more than the file system has, and its number of files. 0 if none was
    /// given.
    fn wanted(&self, share: usize, record: &Record) -> Wanted {
        let total = self.shares[share].total_bytes;
        let bytes = self.file_system.round_up(record.capacity_bytes.min(total));
        Wanted { bytes, inodes: record.inodes.unwrap_or(0) }
    }

    /// The limits that a volume gets, and what is said of it. A limit is never lowered.
    fn limits_for(&self, wanted: Wanted, quota: &Quota) -> (Limits, State) {
        let now = quota.limits;
        if wanted == Wanted::default() || self.mode == Mode::Observe {
            let is_limited = now.bytes > 0 || now.inodes > 0;
            return (now, if is_limited { State::Enforced } else { State::Counted });
        }
        let is_over =
            |now: u64, used: u64, wanted: u64| now == 0 && wanted > 0 && used > wanted && !self.limit_over;
        let [over_bytes, over_inodes] = [
            is_over(now.bytes, quota.used_bytes, wanted.bytes),
            is_over(now.inodes, quota.used_inodes, wanted.inodes),
        ];
        let bytes = if over_bytes { now.bytes } else { now.bytes.max(wanted.bytes) };
        let inodes = if over_inodes { now.inodes } else { now.inodes.max(wanted.inodes) };
        let limits = Limits { bytes, inodes, soft_inodes: mark(inodes) };
        (limits, if over_bytes || over_inodes { State::Over } else { State::Enforced })
    }

    /// Sees to it that a directory and everything in it belong to one project of ours.
    fn membership(&mut self, share: usize, key: &VolumeKey, dir: Dir, inode: u64) -> Result<Membership> {
        let project = dir.project()?;
        if project.id != 0 && !self.ids.is_ours(project.id) {
            return Ok(Membership::Refused(format!(
                "{} belongs to project {}, which is not one of the agent's (--projects): the agent does not change it",
                dir.label(),
                project.id
            )));
        }
        let is_copy = project.id != 0 && self.ids.belongs_to_other(project.id, inode);
        let id = if project.id == 0 || is_copy {
            match self.ids.take(&self.file_system, inode) {
                Ok(id) => id,
                Err(error) => return Ok(Membership::Refused(format!("{error:#}"))),
            }
        } else {
            self.ids.note(project.id, inode);
            project.id
        };
        if self.tagging.contains(&inode) {
            return Ok(Membership::Tagging(id));
        }
        let quota = self.file_system.quota(id)?;
        if project == (Project { id, inherits: true }) && quota.limits.soft_inodes != 0 {
            return Ok(Membership::Complete(id, quota));
        }
        if dir.entries(1)?.is_empty() {
            dir.set_project(Project { id, inherits: true })?;
            // Something may have been made since the look.
            if dir.entries(1)?.is_empty() {
                self.set_complete(id)?;
                return Ok(Membership::Complete(id, self.file_system.quota(id)?));
            }
        }
        let before = Some(project.id).filter(|_| is_copy);
        let (range, owners) = (self.range, self.ids.owners());
        self.tagging.insert(inode);
        let job = Job { share, key: key.clone(), dir, inode, id, before, range, owners };
        if self.jobs.send(job).is_err() {
            return Ok(Membership::Refused("the thread that gives files to projects has failed".to_owned()));
        }
        Ok(Membership::Tagging(id))
    }

    /// Notes that everything in the directory of a project belongs to it.
    pub(super) fn set_complete(&self, id: u32) -> Result<()> {
        let limits = self.file_system.quota(id)?.limits;
        Ok(self.file_system.set_limits(id, Limits { soft_inodes: mark(limits.inodes), ..limits })?)
    }
}

/// The mark that a directory was given to its project completely. A soft limit cannot be above the limit itself, and the same as the limit it
/// changes nothing.
fn mark(inodes: u64) -> u64 {
    if inodes > 0 { inodes } else { COMPLETE }
}

/// Says what a volume uses beyond what it may use.
fn over(quota: &Quota, wanted: Wanted) -> String {
    let Wanted { bytes, inodes } = wanted;
    let mut what = Vec::new();
    if bytes > 0 && quota.used_bytes > bytes {
        what.push(format!("it uses {} bytes and its size is {bytes}", quota.used_bytes));
    }
    if inodes > 0 && quota.used_inodes > inodes {
        what.push(format!("it has {} files and directories and may have {inodes}", quota.used_inodes));
    }
    format!(
        "{}: remove files, or give it a larger size, or start the agent with --limit-over",
        what.join(", and ")
    )
}

/// The report of a volume that is not touched.
fn refused(message: impl Into<String>) -> Report {
    Report::without_quota(State::Refused, message)
}
