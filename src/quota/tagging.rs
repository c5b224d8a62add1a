//! Giving a directory with content to a project, in a thread of its own, because this can take long.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::config::quota::ProjectRange;
use crate::linux::Dir;
use crate::linux::copy::Progress;
use crate::linux::quota::{Project, Tagged, tag_tree};
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;

use super::ids::Owners;

/// How often a tree is walked until nothing has to be changed any more. Each walk finds what pods have made during the one before.
const WALKS: usize = 10;

/// A directory that is given to a project.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) share: usize,
    pub(super) key: VolumeKey,
    pub(super) dir: Dir,
    pub(super) inode: u64,
    pub(super) id: u32,
    /// The id that the directory had before, if it was a copy of another volume's directory.
    pub(super) before: Option<u32>,
    /// Our ids, and those of other volumes, which are left alone.
    pub(super) range: ProjectRange,
    pub(super) owners: Owners,
}

/// How a job ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) share: usize,
    pub(super) key: VolumeKey,
    pub(super) inode: u64,
    pub(super) id: u32,
    pub(super) result: Result<Tagged>,
}

/// Starts the thread. It does one job after the other and tells `ended` of each.
pub(super) fn start(ended: impl Fn(Ended) + Send + 'static) -> std::io::Result<Sender<Job>> {
    let (jobs, waiting): (Sender<Job>, Receiver<Job>) = channel();
    std::thread::Builder::new().name("tagging".to_owned()).spawn(move || {
        for job in waiting {
            let result = tag(&job);
            ended(Ended { share: job.share, key: job.key, inode: job.inode, id: job.id, result });
        }
    })?;
    Ok(jobs)
}

/// Gives everything in the directory to the project: first ids and then the flag with which new files get the id. While the flag is
/// missing everywhere, files can be moved within the volume as before. After that a file without the id, which somebody made during the
/// walk, cannot be moved into a directory with the flag (EXDEV) until the next walk has found it.
fn tag(job: &Job) -> Result<Tagged> {
    let is_ours =
        |id: u32| Some(id) == job.before || job.range.contains(id) && !job.owners.lock().contains_key(&id);
    let progress = Progress::default();
    let walk = |inherit: bool| tag_tree(&job.dir, job.id, inherit, is_ours, &progress);
    let now = job.dir.project()?;
    job.dir.set_project(Project { id: job.id, inherits: now.inherits && now.id == job.id })?;
    let mut changed = 0;
    for _ in 0..WALKS {
        let found = walk(false)?.changed;
        changed += found;
        if found == 0 {
            break;
        }
    }
    for _ in 0..WALKS {
        let found = walk(true)?;
        job.dir.set_project(Project { id: job.id, inherits: true })?;
        changed += found.changed;
        // The walk before this one may have set the last flag. What was made until then is found by one more.
        if found.changed == 0 && job.dir.project()?.inherits && walk(true)?.changed == 0 {
            return Ok(Tagged { changed, ..found });
        }
    }
    Err(Error::Busy(format!(
        "{}: after {WALKS} walks there are still new files without the project id; the agent tries again",
        job.dir.label()
    )))
}
