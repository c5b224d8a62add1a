//! `quota check`: what a file system can do, and the commands that change it.

use std::path::Path;

use anyhow::{Context, bail};

use crate::linux::quota::{FileSystem, Kind, ProjectQuotas};
use crate::linux::{Dir, MountTable};

/// Says what the file system of `path` can do. Fails unless it can limit volumes.
pub(super) fn run(path: &Path) -> anyhow::Result<()> {
    let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
    let dir = Dir::open(&path)?;
    let file_system = FileSystem::open(&dir)?;
    let quotas = file_system.project_quotas()?;
    let table = MountTable::read()?;
    let mount = table.holding(&path);
    let place = mount.map_or(path.as_path(), |mount| mount.mount_point.as_path());
    let device =
        mount.map_or_else(|| "DEVICE".to_owned(), |mount| mount.source.to_string_lossy().into_owned());
    println!("{}: {} on {device}, mounted at {}", path.display(), file_system.kind, place.display());
    if quotas == ProjectQuotas::Enforced {
        println!("Project quotas are enforced: the agent can limit volumes here.");
        if let Some(note) = note(file_system.kind) {
            println!("{note}");
        }
        return Ok(());
    }
    println!("{}", advice(file_system.kind, quotas, place, &device));
    bail!("volumes cannot be limited on this file system as it is now");
}

/// What an administrator should know although all is well.
fn note(kind: Kind) -> Option<&'static str> {
    (kind == Kind::Ext4).then_some(
        "ext4 does not stop root (user 0) at a limit. Pods that run as root, on an export without root squash, can write beyond the size of \
         their volumes. XFS stops root, too.",
    )
}

/// What to do when project quotas are not enforced.
fn advice(kind: Kind, quotas: ProjectQuotas, place: &Path, device: &str) -> String {
    let place = place.display();
    let remount = |option: &str| {
        format!(
            "Add the mount option `{option}` in /etc/fstab, stop the NFS server, and mount the file system anew; a remount is not enough:\n\
             \x20 umount {place}\n  mount -o {option} {device} {place}"
        )
    };
    match (kind, quotas) {
        (Kind::Xfs, ProjectQuotas::Counted) => {
            format!("Project quotas are counted and not enforced (pqnoenforce).\n{}", remount("prjquota"))
        }
        (Kind::Xfs, _) => format!(
            "Project quotas are off.\n{}\nFor the root file system, give the kernel `rootflags=prjquota` instead.",
            remount("prjquota")
        ),
        (Kind::Ext4, ProjectQuotas::Counted) => {
            format!("Project quotas are counted and not enforced.\n{}", remount("prjquota"))
        }
        (Kind::Ext4, _) => format!(
            "Project quotas are off. Add the mount option `prjquota` in /etc/fstab, stop the NFS server, and give the file system the \
             features once, while it is not mounted:\n\
             \x20 umount {place}\n  tune2fs -O project,quota -Q prjquota {device}\n  mount -o prjquota {device} {place}"
        ),
        (Kind::Btrfs, _) => "Btrfs has no project quotas: it limits subvolumes, and a volume is a plain directory. Export a directory on XFS or \
             ext4, or use `capacityPolicy: reserve`, which limits the sum of all sizes."
            .to_owned(),
        (Kind::Zfs, _) => "ZFS does not answer the kernel's calls for quotas, which the agent uses. It limits datasets, and a volume is a plain \
             directory. Export a directory on XFS or ext4, or use `capacityPolicy: reserve`, which limits the sum of all sizes."
            .to_owned(),
        (Kind::Nfs, _) => {
            "This is an NFS mount. The agent runs on the NFS server, where the exported directory is local.".to_owned()
        }
        (Kind::Overlay, _) => {
            "This is the layered file system of a container. Give the container the exported directory of the host as a volume.".to_owned()
        }
        (Kind::F2fs | Kind::Tmpfs | Kind::Other(_), _) => format!(
            "Project quotas are off or not known here. The agent was tried on XFS and ext4, and {kind} was not tried."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_the_commands_and_what_is_impossible() {
        let advice = |kind, quotas| advice(kind, quotas, Path::new("/srv"), "/dev/sdb1");
        let xfs = advice(Kind::Xfs, ProjectQuotas::Off);
        assert!(xfs.contains("  mount -o prjquota /dev/sdb1 /srv") && xfs.contains("rootflags"), "{xfs}");
        assert!(advice(Kind::Xfs, ProjectQuotas::Counted).contains("pqnoenforce"));
        let ext4 = advice(Kind::Ext4, ProjectQuotas::Off);
        assert!(ext4.contains("  tune2fs -O project,quota -Q prjquota /dev/sdb1\n"), "{ext4}");
        assert!(!advice(Kind::Ext4, ProjectQuotas::Counted).contains("tune2fs"));
        assert!(advice(Kind::Btrfs, ProjectQuotas::Off).contains("subvolumes"));
        assert!(advice(Kind::Zfs, ProjectQuotas::Off).contains("datasets"));
        assert!(advice(Kind::Nfs, ProjectQuotas::Off).contains("on the NFS server"));
        assert!(advice(Kind::Other(0x1234), ProjectQuotas::Off).contains("0x1234"));
    }
}
