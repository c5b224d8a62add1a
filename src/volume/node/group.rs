//! The group of a pod (fsGroup), which gets the volume at a publish.
//!
//! Kubelet would walk through the whole tree over NFS at each start of a pod. Here nothing is changed if the top directory of the
//! volume has the group already. Otherwise the whole tree is changed, and the top directory last. So a change that was interrupted, for
//! example by SIGKILL, does not look complete and begins again. The change is a job: it continues after its call was answered, and a
//! retry joins it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::linux::{Dir, SysError, group};

use crate::volume::error::{Error, Result, refuse_unsafe};
use crate::volume::jobs::{CopyJobs, Way};
use crate::volume::policy::settings::{FsGroup, ResolvedExport};

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

/// The changes of groups on this node. A server that does not answer delays only the changes of its own volumes.
pub(super) struct Groups(Arc<CopyJobs>);

impl Default for Groups {
    fn default() -> Self {
        Self(Arc::new(CopyJobs::of_groups()))
    }
}

impl Groups {
    /// Gives a volume to a group. Where the top has the group, this needs no NFS request. Otherwise see
    /// [`group::change_group`]; fails with [`Error::Busy`] if that takes longer than `wish.patience`.
    pub(super) fn give(&self, volume: &Dir, export: &ResolvedExport, wish: GroupWish) -> Result<()> {
        match self.try_give(volume, export, wish) {
            Err(Error::Sys(error)) if wish.policy == FsGroup::Try && error.is_change_refused() => {
                tracing::warn!(
                    volume = volume.label(), group = wish.gid, %error,
                    "the volume was published, but could not be given to the group of the pod (fsGroup); the pod may not be able \
                     to use it"
                );
                Ok(())
            }
            Err(Error::Sys(error)) => Err(refuse_unsafe(error)),
            given => given,
        }
    }

    fn try_give(&self, volume: &Dir, export: &ResolvedExport, wish: GroupWish) -> Result<()> {
        let belongs = || -> Result<bool, SysError> {
            let (_, gid, mode) = volume.ownership()?;
            Ok(group::belongs_to_group(gid, mode, wish.gid))
        };
        if belongs().map_err(Error::Sys)? {
            return Ok(());
        }
        let dir = volume.open_dir(".").map_err(Error::Sys)?;
        // One change of a volume at a time, whatever its group is.
        let key = volume.label();
        self.0.check(&key)?;
        let own = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&own);
        self.0.run(&key, Way::between(export, export), &[], wish.patience, move |progress| {
            begun.store(true, Ordering::SeqCst);
            group::change_group(&dir, wish.gid, progress).map_err(Error::Sys)
        })?;
        // The job that was joined may have been for the group of another pod.
        if own.load(Ordering::SeqCst) || belongs().map_err(Error::Sys)? {
            return Ok(());
        }
        Err(Error::Busy(format!("{key} was given to the group of another pod meanwhile; ask again")))
    }
}
