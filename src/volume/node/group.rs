//! The group of a pod (fsGroup), which gets the volume at a publish.
//!
//! Kubelet would walk through the whole tree over NFS at each start of a pod. Here nothing is changed if the top directory of the
//! volume has the group already. Otherwise the whole tree is changed, and the top directory last. So a change that was interrupted, for
//! example by SIGKILL, does not look complete and begins again. The change is a job: it continues after its call was answered, and a
//! retry joins it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::linux::{Dir, SysError, group};

use crate::volume::error::{Error, Result, refuse_unsafe};
use crate::volume::jobs::{CopyJobs, Way};
use crate::volume::policy::settings::{FsGroup, ResolvedExport};
use crate::volume::share::health::{Finding, Trouble};

/// The group that a volume is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupWish {
    /// The number of the group.
    pub gid: u32,
    /// What happens if the server does not allow it.
    pub policy: FsGroup,
    /// How long the publish waits for the change of the tree.
    pub patience: Duration,
}

/// The server did not allow a volume to be given to a group.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    gid: u32,
    reason: String,
}

/// The changes of groups on this node, and what became of them.
pub(super) struct Groups {
    /// A server that does not answer delays only the changes of its own volumes.
    jobs: Arc<CopyJobs>,
    /// The volumes that were published all the same, by target path. Only for the health of these volumes: a call for that does not
    /// name the group. They are forgotten when this process ends.
    refusals: Mutex<HashMap<PathBuf, Refusal>>,
    /// How many changes a server has refused since the process began.
    refused: AtomicU64,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            jobs: Arc::new(CopyJobs::of_groups()),
            refusals: Mutex::default(),
            refused: AtomicU64::default(),
        }
    }
}

impl Groups {
    /// Gives a volume to a group, or says why the server refuses that. Where the top has the group, this needs no NFS request.
    /// Otherwise see [`group::change_group`]; fails with [`Error::Busy`] if that takes longer than `wish.patience`.
    pub(super) fn give(
        &self,
        volume: &Dir,
        export: &ResolvedExport,
        wish: GroupWish,
    ) -> Result<Option<Refusal>> {
        let given = self.try_give(volume, export, wish);
        if matches!(&given, Err(Error::Sys(error)) if error.is_change_refused()) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        match given {
            Err(Error::Sys(error)) if wish.policy == FsGroup::Try && error.is_change_refused() => {
                tracing::warn!(
                    volume = volume.label(), group = wish.gid, %error,
                    "the volume was published, but could not be given to the group of the pod (fsGroup); the pod may not be able \
                     to use it"
                );
                Ok(Some(Refusal { gid: wish.gid, reason: error.to_string() }))
            }
            Err(Error::Sys(error)) => Err(refuse_unsafe(error)),
            given => given.map(|()| None),
        }
    }

    /// How many changes a server has refused since the process began.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Keeps what [`Self::give`] said, for as long as the volume is at the target.
    pub(super) fn remember(&self, target: &Path, refusal: Option<Refusal>) {
        let mut refusals = self.refusals.lock();
        match refusal {
            Some(refusal) => refusals.insert(target.to_owned(), refusal),
            None => refusals.remove(target),
        };
    }

    /// What the volume at a target lacks: the group of its pod. Somebody may have changed its group meanwhile. No NFS request if
    /// the attributes are fresh.
    pub(super) fn look(&self, target: &Path, volume: &Dir) -> Result<Option<Finding>> {
        let Some(Refusal { gid, reason }) = self.refusals.lock().get(target).cloned() else {
            return Ok(None);
        };
        if belongs(volume, gid).map_err(Error::Sys)? {
            return Ok(None);
        }
        let message = format!(
            "the volume could not be given to the group {gid} of its pod (fsGroup), so the pod may not be able to use it: {reason}"
        );
        Ok(Some(Finding { trouble: Trouble::GroupRefused, message }))
    }

    fn try_give(&self, volume: &Dir, export: &ResolvedExport, wish: GroupWish) -> Result<()> {
        if belongs(volume, wish.gid).map_err(Error::Sys)? {
            return Ok(());
        }
        let dir = volume.open_dir(".").map_err(Error::Sys)?;
        // One change of a volume at a time, whatever its group is.
        let key = volume.label();
        self.jobs.check(&key)?;
        let own = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&own);
        self.jobs.run(
            &key,
            Way::between(export.place(), export.place()),
            &[],
            wish.patience,
            move |progress| {
                begun.store(true, Ordering::SeqCst);
                group::change_group(&dir, wish.gid, progress).map_err(Error::Sys)
            },
        )?;
        // The job that was joined may have been for the group of another pod.
        if own.load(Ordering::SeqCst) || belongs(volume, wish.gid).map_err(Error::Sys)? {
            return Ok(());
        }
        Err(Error::Busy(format!("{key} was given to the group of another pod meanwhile; ask again")))
    }
}

fn belongs(volume: &Dir, wanted: u32) -> Result<bool, SysError> {
    let (_, gid, mode) = volume.ownership()?;
    Ok(group::belongs_to_group(gid, mode, wanted))
}
