//! Making a volume appear at a target path, and disappear from it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::linux::mountinfo::Mount;
use crate::linux::{BindFlags, Dir, MountTable, Mounter, NfsOptions, step};

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::node::directory::Directory;
use crate::volume::node::ephemeral::EphemeralVolumes;
use crate::volume::node::group::{GroupWish, Groups};
use crate::volume::node::occupancy::{self, Finding, Wanted};
use crate::volume::node::stale::{self, stale_mount};
use crate::volume::node::target_dir::{make_target, remove_target};
use crate::volume::node::target_path::TargetPath;
use crate::volume::node::targets::{Attempt, Targets};
use crate::volume::policy::access_mode::AccessMode;
use crate::volume::policy::settings::ResolvedExport;
use crate::volume::volumes::Volumes;

/// A volume and where it is to appear.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where the volume lies.
    pub export: ResolvedExport,
    /// Which directory there.
    pub directory: Directory,
    /// Where it is to appear.
    pub target: PathBuf,
    /// The options of the export mount.
    pub options: NfsOptions,
    /// The flags of the bind mount.
    pub flags: BindFlags,
    /// Who else may use it.
    pub access: AccessMode,
    /// The group that pods of this volume share (fsGroup), if kubelet leaves that to the driver.
    pub group: Option<GroupWish>,
}

impl Publish {
    /// Sets how long the publish waits until the volume has the group of the pod.
    pub const fn wait_for_group(&mut self, patience: Duration) {
        if let Some(wish) = &mut self.group {
            wish.patience = patience;
        }
    }
}

/// What a publish does if the volume is at its target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfPublished {
    /// Nothing.
    Keep,
    /// It puts a new bind mount into the place of the one that is there.
    Replace,
}

/// How a publish ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// This publish has put the volume at its target.
    Now,
    /// The volume was at its target already.
    Before,
}

/// Publishing on this node.
pub struct Publisher {
    /// The volumes of all exports.
    pub volumes: Volumes,
    pub(super) mounter: Arc<dyn Mounter>,
    pub(super) targets: Targets,
    pub(super) groups: Groups,
    pub(super) ephemeral: Arc<EphemeralVolumes>,
    kubelet_dir: PathBuf,
}

impl Publisher {
    /// Targets must be below `kubelet_dir`, a path without symbolic links. What has to be remembered of ephemeral volumes is kept
    /// in kubelet's directory for the driver with this name.
    #[must_use]
    pub fn new(
        volumes: Volumes,
        mounter: Arc<dyn Mounter>,
        kubelet_dir: PathBuf,
        driver_name: &str,
        node_id: &str,
    ) -> Self {
        let notes = kubelet_dir.join("plugins").join(driver_name).join("ephemeral");
        let (settings, exports) = (Arc::clone(&volumes.settings), Arc::clone(&volumes.exports));
        let ephemeral = EphemeralVolumes::new(settings, exports, notes, node_id);
        Self {
            volumes,
            mounter,
            targets: Targets::default(),
            groups: Groups::default(),
            ephemeral,
            kubelet_dir,
        }
    }

    /// Goes on with what an earlier process of this node has left to do.
    pub fn resume(&self) -> Result<()> {
        self.ephemeral.resume()
    }

    /// How often a server has refused to give a volume to the group of a pod since the process began.
    #[must_use]
    pub fn refused_groups(&self) -> u64 {
        self.groups.refused()
    }

    /// Registers a publish at a target path, from the arrival of its call on. The publish may wait for its place and for
    /// the server, and an unpublish of the target revokes it all that time.
    #[must_use]
    pub fn begin(&self, target: &Path) -> Attempt {
        self.targets.begin(target)
    }

    /// Publishes a volume. On a mounted export this needs one LOOKUP for each component of the directory that the client
    /// has not cached, and the local system calls of [`Mounter::bind`]. If the volume is at the target already, it needs no
    /// NFS request.
    ///
    /// If the volume is unpublished meanwhile, the publish fails with [`Error::Busy`] and leaves nothing behind.
    pub fn publish(&self, publish: &Publish, attempt: &Attempt, there: IfPublished) -> Result<Published> {
        let target = self.resolve(&publish.target)?.ok_or_else(|| {
            let target = publish.target.display();
            Error::Precondition(format!("target_path {target}: its parent directory does not exist"))
        })?;
        let target = target.as_path();
        let own_names: Vec<OsString> =
            publish.export.sources.iter().map(|s| OsString::from(s.to_string())).collect();
        if there == IfPublished::Keep
            && self.look(&self.mounter.table()?, publish, target, &own_names) == Finding::Done
        {
            return Ok(Published::Before);
        }
        if let Directory::Direct(sub_dir) = &publish.directory {
            return self.publish_direct(publish, sub_dir, target, &own_names, attempt, there);
        }
        let ephemeral = match &publish.directory {
            Directory::Ephemeral(volume_id) => {
                Some(self.ephemeral.begin(volume_id, &publish.export.id, &publish.target)?)
            }
            _ => None,
        };
        let published = self.volumes.exports.with(&publish.export, &publish.options, |mounted| {
            step::begin(format!("the lookup of the volume's directory on {}", mounted.share().label()));
            let volume = publish.directory.open(mounted, ephemeral.as_ref())?;
            let table = self.mounter.table()?;
            // Where two mounts share a superblock, the kernel names both after the first.
            let kernel_name = table.at(mounted.mount_point()).map(|mount| mount.source.clone());
            let names: Vec<OsString> = own_names.iter().cloned().chain(kernel_name).collect();
            self.place(publish, &volume, target, &table, &names, attempt, there)
        });
        match (ephemeral, published) {
            (Some(ephemeral), Err(error)) if attempt.is_revoked() => {
                Err(error.with_cleanup(ephemeral.revoked()))
            }
            (_, published) => published,
        }
    }

    /// Mounts the directory of the volume itself instead of the share. When the volume is at the target, that mount is unmounted again, and
    /// only the bind mount stays.
    fn publish_direct(
        &self,
        publish: &Publish,
        sub_dir: &SubDir,
        target: &Path,
        names: &[OsString],
        attempt: &Attempt,
        there: IfPublished,
    ) -> Result<Published> {
        let root = self.mounter.mount_export(&publish.export.below(sub_dir), &publish.options)?;
        let placed = self
            .mounter
            .table()
            .map_err(Error::from)
            .and_then(|table| self.place(publish, &root.dir, target, &table, names, attempt, there));
        let released = self.mounter.release_export(&root).map_err(Error::from);
        match placed {
            Ok(published) => released.map(|()| published),
            Err(reason) => Err(reason.with_cleanup(released)),
        }
    }

    /// Puts the volume at the target, if the mount table allows it.
    #[expect(clippy::too_many_arguments, reason = "what is published, where, and what is there")]
    fn place(
        &self,
        publish: &Publish,
        volume: &Dir,
        target: &Path,
        table: &MountTable,
        names: &[OsString],
        attempt: &Attempt,
        there: IfPublished,
    ) -> Result<Published> {
        let finding = self.look(table, publish, target, names);
        let replaces = finding == Finding::Done && there == IfPublished::Replace;
        match finding {
            Finding::Done if !replaces => return Ok(Published::Before),
            Finding::Done | Finding::Free => {}
            Finding::Taken(reason) => return Err(Error::AlreadyExists(reason)),
            Finding::Elsewhere(other) => {
                return Err(Error::Precondition(format!(
                    "only one pod may use the volume, and it is published at {} already",
                    other.display()
                )));
            }
        }
        let refusal = match publish.group.filter(|_| !publish.flags.read_only) {
            Some(group) => self.groups.give(volume, &publish.export, group)?,
            None => None,
        };
        let bind = self.mounter.prepare(volume, publish.flags)?;
        let mut bind = Some(bind);
        let placed = attempt.finish(|| {
            if replaces {
                self.mounter
                    .unmount_unused(target)
                    .map_err(|error| if error.is_busy() { stale::in_use(target) } else { error.into() })?;
            }
            let made = make_target(target)?;
            let Some(bind) = bind.take() else { return Ok(()) };
            self.mounter.place(bind, target).map_err(|error| {
                Error::from(error).with_cleanup(if made { remove_target(target) } else { Ok(()) })
            })?;
            self.groups.remember(target, refusal);
            Ok(())
        });
        // If the bind mount was not placed, the publish was revoked or the target cannot be used.
        let discarded = bind.map_or(Ok(()), |bind| self.mounter.discard(bind).map_err(Error::from));
        match placed {
            Ok(()) => discarded.map(|()| Published::Now),
            Err(reason) => Err(reason.with_cleanup(discarded)),
        }
    }

    /// Whether the server does not know the directory any more that is mounted at a target. NFS request: GETATTR.
    pub fn is_stale(&self, target: &Path) -> Result<bool> {
        let target = self.published(target)?;
        step::begin(format!("the attributes of the directory at {}", target.mount_point.display()));
        Ok(stale_mount(&target.mount_point))
    }

    fn look(&self, table: &MountTable, publish: &Publish, target: &Path, names: &[OsString]) -> Finding {
        let wanted = Wanted {
            target,
            directory: &publish.directory.path(table.at(target)),
            names,
            may_have_moved: matches!(publish.export.id, ExportRef::Named(_)),
            flags: publish.flags,
            only_target_below: publish.access.allows_one_target_only().then_some(&self.kubelet_dir),
        };
        occupancy::look(table, &wanted)
    }

    /// Resolves a target path, and checks that something is mounted there.
    pub fn published(&self, path: &Path) -> Result<Mount> {
        let not_found = || Error::NotFound(format!("no volume is published at {}", path.display()));
        let target = self.resolve(path).map_err(|_| not_found())?.ok_or_else(not_found)?;
        self.mounter.table()?.at(target.as_path()).cloned().ok_or_else(not_found)
    }

    pub(super) fn resolve(&self, target: &Path) -> Result<Option<TargetPath>> {
        TargetPath::resolve(&self.kubelet_dir, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fake::FakeMounter;
    use crate::volume::name::export::Export;
    use crate::volume::share::mounts::Exports;

    fn publish(sub_dir: &str) -> Publish {
        Publish {
            export: ResolvedExport::mounted(Export::new("10.0.0.5", "/srv").unwrap()),
            directory: Directory::At(SubDir::parse(sub_dir).unwrap()),
            target: PathBuf::new(),
            options: NfsOptions::default(),
            flags: BindFlags { nosuid: true, ..BindFlags::default() },
            access: AccessMode::MultiNodeMultiWriter,
            group: None,
        }
    }

    /// A publisher whose export `nas:/srv` is a local directory with the volume `vol`.
    fn publisher(temporary: &Path) -> (Publisher, Arc<FakeMounter>) {
        for dir in ["share/vol", "kubelet"] {
            std::fs::create_dir_all(temporary.join(dir)).unwrap();
        }
        let mounter = Arc::new(FakeMounter::default());
        mounter.serve("nas:/srv", &temporary.join("share"));
        let exports = Arc::new(Exports::new(mounter.clone(), Duration::ZERO));
        let volumes = Volumes {
            settings: Arc::default(),
            exports,
            copies: Arc::default(),
            claims: Arc::new(crate::cluster::ApiServer::in_cluster()),
        };
        let kubelet_dir = temporary.join("kubelet").canonicalize().unwrap();
        (Publisher::new(volumes, mounter.clone(), kubelet_dir, "driver", "node-1"), mounter)
    }

    #[test]
    fn a_publish_that_was_unpublished_while_it_waited_leaves_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let (publisher, mounter) = publisher(temporary.path());
        let target = temporary.path().join("kubelet/pod");
        let at = |directory| Publish {
            export: ResolvedExport::mounted(Export::new("nas", "/srv").unwrap()),
            directory,
            target: target.clone(),
            ..publish("vol")
        };
        let is_mounted = || mounter.table().unwrap().iter().any(|mount| mount.mount_point.ends_with("pod"));
        for directory in
            [Directory::At(SubDir::parse("vol").unwrap()), Directory::Ephemeral("csi-1".to_owned())]
        {
            let late = publisher.begin(&target);
            publisher.unpublish("csi-1", &target).unwrap();
            let error = publisher.publish(&at(directory.clone()), &late, IfPublished::Keep).unwrap_err();
            assert!(matches!(error, Error::Busy(_)), "{error}");
            assert!(!is_mounted() && !target.exists());
            assert!(temporary.path().join("share/vol").exists());
            let nodes = temporary.path().join("share/.nfs-subdir-csi/nodes");
            let left = || nodes.read_dir().is_ok_and(|mut nodes| nodes.next().is_some());
            let gone = (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                !left()
            });
            assert!(gone, "a pod's own volume is removed, and the folder of the node with it");
            let again = publisher.begin(&target);
            publisher.publish(&at(directory), &again, IfPublished::Keep).unwrap();
            assert!(is_mounted() && target.exists());
            mounter.unmount(&target.canonicalize().unwrap()).unwrap();
            std::fs::remove_dir(&target).unwrap();
        }
    }
}
