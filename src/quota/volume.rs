//! What the agent does with one volume.

use crate::linux::Dir;
use crate::linux::quota::{Limits, Project, Quota};
use crate::volume::error::{Error, Result, refuse_unsafe};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::quota::{Mode, Report, State};
use crate::volume::share::record::Record;

use super::agent::Agent;
use super::tagging::Job;

/// The soft limit of inodes of a project whose directory was given to it completely. No directory has so many, so it limits nothing. It is a mark
/// that only the server's root can set, where the agent keeps no file of its own, and it is gone together with the project.
const COMPLETE: u64 = 1 << 48;

/// What was found out about the project of a directory.
enum Membership {
    /// Everything in the directory belongs to the project.
    Complete(u32),
    /// This is being done.
    Tagging(u32),
    /// The directory is not touched, for this reason.
    Refused(String),
}

impl Agent {
    /// Gives a volume its project and its limit, as far as that is right, and says what is the case now. `None` if there is no such volume.
    ///
    /// System calls for a volume in which nothing has to be changed, with its directory at the top of the share: 7 to read the record and to
    /// see that it has its claim, openat2(2), fstat(2) and ioctl(2) for the directory, one quotactl_fd(2), and statfs(2).
    pub(super) fn settle(&mut self, share: usize, key: &VolumeKey) -> Result<Option<Report>> {
        let Some(state) = &self.shares[share].state else { return Ok(None) };
        let read = match state.records.read(key) {
            Ok(None) => return Ok(None),
            Ok(Some(read)) => read,
            Err(error) => return Ok(Some(refused(error.to_string()))),
        };
        if !read.is_claimed {
            let message = "the claim of its directory is not its own: another volume has the directory, or version 0.1.0 of the driver wrote \
                           the record, and no controller of this version has created a volume on this share yet";
            return Ok(Some(refused(message)));
        }
        match self.open_volume(share, &read.record.sub_dir) {
            Err(Error::Sys(error)) if error.is_not_found() => {
                if read.record.source.is_some() {
                    for draft in self.shares[share].drafts(key)? {
                        self.settle_dir(share, key, &read.record, draft)?;
                    }
                }
                Ok(Some(Report::without_quota(State::Waiting, "its directory does not exist yet")))
            }
            Err(error) => Ok(Some(refused(error.to_string()))),
            Ok(dir) => self.settle_dir(share, key, &read.record, dir).map(Some),
        }
    }

    /// Opens the directory of a volume, one component after the other. A directory inside of another volume, or on another file system, is
    /// an error.
    fn open_volume(&self, share: usize, sub_dir: &SubDir) -> Result<Dir> {
        let top = &self.shares[share].dir;
        let mut dir = top.open_dir(".")?;
        for component in sub_dir.as_str().split('/') {
            if dir.label() != top.label() && self.ids.is_ours(dir.project()?.id) {
                return Err(Error::Precondition(format!(
                    "{} belongs to a volume, so a directory inside of it cannot be a volume",
                    dir.label()
                )));
            }
            dir = dir.open_dir(component).map_err(refuse_unsafe)?;
        }
        if !dir.is_on_file_system_of(top)? {
            return Err(Error::Precondition(format!(
                "{} is on another file system than its share",
                dir.label()
            )));
        }
        Ok(dir)
    }

    fn settle_dir(&mut self, share: usize, key: &VolumeKey, record: &Record, dir: Dir) -> Result<Report> {
        let id = match self.membership(share, key, dir)? {
            Membership::Refused(message) => return Ok(refused(message)),
            Membership::Tagging(project) => {
                let message = "what is in the directory is being given to its project";
                return Ok(Report { project, ..Report::without_quota(State::Tagging, message) });
            }
            Membership::Complete(id) => id,
        };
        let quota = self.file_system.quota(id)?;
        let size = self.size_of(share, record)?;
        let (limits, state) = self.limits_for(size, &quota);
        if limits != quota.limits {
            self.file_system.set_limits(id, limits)?;
            tracing::info!(volume = %key, project = id, bytes = limits.bytes, "limited");
        }
        let message = if state == State::Over {
            format!(
                "it uses {} bytes and its size is {size}: remove files, or give it a larger size, or start the agent with --limit-over",
                quota.used_bytes
            )
        } else {
            String::new()
        };
        Ok(Report {
            project: id,
            limit_bytes: limits.bytes,
            used_bytes: quota.used_bytes,
            limit_inodes: limits.inodes,
            used_inodes: quota.used_inodes,
            ..Report::without_quota(state, message)
        })
    }

    /// The size of a volume as a limit: in whole blocks, and not more than the file system has. 0 if the volume was given no size.
    fn size_of(&self, share: usize, record: &Record) -> Result<u64> {
        let total = self.shares[share].dir.usage()?.total_bytes;
        Ok(self.file_system.round_up(record.capacity_bytes.min(total)))
    }

    /// The limits that a volume gets, and what is said of it. A limit is never lowered.
    fn limits_for(&self, size: u64, quota: &Quota) -> (Limits, State) {
        let now = quota.limits;
        if size == 0 || self.mode == Mode::Observe {
            return (now, if now.bytes > 0 { State::Enforced } else { State::Counted });
        }
        if now.bytes == 0 && quota.used_bytes > size && !self.limit_over {
            return (now, State::Over);
        }
        (Limits { bytes: now.bytes.max(size), ..now }, State::Enforced)
    }

    /// Sees to it that a directory and everything in it belong to one project of ours.
    fn membership(&mut self, share: usize, key: &VolumeKey, dir: Dir) -> Result<Membership> {
        let (inode, project) = (dir.inode()?, dir.project()?);
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
        if project == (Project { id, inherits: true }) && self.is_complete(id)? {
            return Ok(Membership::Complete(id));
        }
        if dir.entries(1)?.is_empty() {
            dir.set_project(Project { id, inherits: true })?;
            // Something may have been made since the look.
            if dir.entries(1)?.is_empty() {
                self.set_complete(id)?;
                return Ok(Membership::Complete(id));
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

    fn is_complete(&self, id: u32) -> Result<bool> {
        Ok(self.file_system.quota(id)?.limits.soft_inodes != 0)
    }

    /// Notes that everything in the directory of a project belongs to it.
    pub(super) fn set_complete(&self, id: u32) -> Result<()> {
        let limits = self.file_system.quota(id)?.limits;
        Ok(self.file_system.set_limits(id, Limits { soft_inodes: COMPLETE, ..limits })?)
    }
}

/// The report of a volume that is not touched.
fn refused(message: impl Into<String>) -> Report {
    Report::without_quota(State::Refused, message)
}
