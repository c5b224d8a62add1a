//! What the mount table says before a publish: whether the volume is at its target, or something else is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::linux::mountinfo::{self, Mount};
use crate::linux::{BindFlags, MountTable};

/// What is to be mounted, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The target.
    pub(super) target: &'a Path,
    /// The directory of the volume, below the share.
    pub(super) directory: &'a Path,
    /// The names of the export in the mount table.
    pub(super) names: &'a [OsString],
    /// Whether the export may have had other names when a volume on it was published: the configuration can move a named export.
    pub(super) may_have_moved: bool,
    /// The flags of the bind mount.
    pub(super) flags: BindFlags,
    /// If the volume may be at one target only: where targets are.
    pub(super) only_target_below: Option<&'a Path>,
}

/// What the mount table means for a publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The volume is there already, with the flags that are asked for.
    Done,
    /// Nothing is there.
    Free,
    /// Something else is there, or the volume with other flags.
    Taken(String),
    /// The volume is at another target, and may be at one only.
    Elsewhere(PathBuf),
}

/// Compares what is wanted with what is mounted.
pub(super) fn look(table: &MountTable, wanted: &Wanted<'_>) -> Finding {
    let Wanted { target, directory, flags, .. } = *wanted;
    let is_volume = |mount: &Mount| {
        let is_below = |name: &OsString| mountinfo::is_below(&mount.source, name.as_bytes(), directory);
        mount.is_nfs() && wanted.names.iter().any(is_below)
    };
    // What was published from the earlier place of its export stays, and is still the volume.
    let was_volume = |mount: &Mount| {
        wanted.may_have_moved && mount.is_nfs() && mountinfo::ends_with(&mount.source, directory)
    };
    if let Some(mount) = table.at(target) {
        let at = target.display();
        if !is_volume(mount) && !was_volume(mount) {
            return Finding::Taken(format!("something else is mounted at {at}: {}", mount.source.display()));
        }
        for (flag, is_wanted) in flags.named() {
            if mount.has(flag) != is_wanted {
                let with = if is_wanted { "without" } else { "with" };
                return Finding::Taken(format!("the volume is published at {at} already, {with} {flag}"));
            }
        }
        return Finding::Done;
    }
    let other = wanted.only_target_below.and_then(|targets| {
        table.iter().find(|mount| is_volume(mount) && mount.mount_point.starts_with(targets))
    });
    other.map_or(Finding::Free, |other| Finding::Elsewhere(other.mount_point.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
40 1 0:41 / /k/a rw,nosuid,relatime shared:9 - nfs4 10.0.0.5:/srv/vol rw,vers=4.2
41 1 0:41 / /k/b rw,relatime shared:9 - nfs4 10.0.0.5:/srv/volume rw,vers=4.2
42 1 0:50 / /k/c rw,relatime shared:9 - tmpfs 10.0.0.5:/srv/vol rw
43 1 0:41 / /elsewhere rw,relatime shared:9 - nfs4 nas:/srv/other rw,vers=4.2
";
    const NOSUID: BindFlags = BindFlags { read_only: false, nosuid: true, nodev: false, noexec: false };

    /// What is found for a volume that is wanted with `nosuid`.
    fn find(directory: &str, target: &str, names: &[&str], change: impl Fn(&mut Wanted<'_>)) -> Finding {
        let names: Vec<OsString> = names.iter().map(OsString::from).collect();
        let mut wanted = Wanted {
            target: Path::new(target),
            directory: Path::new(directory),
            names: &names,
            may_have_moved: false,
            flags: NOSUID,
            only_target_below: None,
        };
        change(&mut wanted);
        look(&MountTable::parse(TABLE.as_bytes()), &wanted)
    }

    #[test]
    fn the_table_decides_what_a_publish_does() {
        let names = ["10.0.0.5:/srv"];
        let find_one = |directory, target| find(directory, target, &names, |_| ());
        assert_eq!(find_one("vol", "/k/a"), Finding::Done);
        assert_eq!(find_one("vol", "/k/new"), Finding::Free);
        assert!(matches!(find_one("other", "/k/a"), Finding::Taken(_)));
        assert!(matches!(find_one("vol", "/k/c"), Finding::Taken(_)), "no NFS");
        let read_only = |wanted: &mut Wanted<'_>| wanted.flags.read_only = true;
        assert!(matches!(find("vol", "/k/a", &names, read_only), Finding::Taken(_)), "flags differ");
    }

    #[test]
    fn a_volume_for_one_pod_is_found_at_another_target_and_its_namesake_is_not() {
        let single = |wanted: &mut Wanted<'_>| wanted.only_target_below = Some(Path::new("/k"));
        let names = ["10.0.0.5:/srv"];
        assert_eq!(find("vol", "/k/new", &names, single), Finding::Elsewhere(PathBuf::from("/k/a")));
        assert_eq!(find("vol", "/k/a", &names, single), Finding::Done);
        assert_eq!(find("vo", "/k/new", &names, single), Finding::Free);
        assert_eq!(
            find("other", "/k/new", &["nas:/srv"], single),
            Finding::Free,
            "outside the kubelet directory"
        );
    }

    #[test]
    fn the_kernels_other_name_for_the_export_counts() {
        let no_flags = |wanted: &mut Wanted<'_>| wanted.flags = BindFlags::default();
        assert_eq!(find("volume", "/k/b", &["alias:/srv", "10.0.0.5:/srv"], no_flags), Finding::Done);
        assert!(matches!(find("volume", "/k/b", &["alias:/srv"], no_flags), Finding::Taken(_)));
    }

    #[test]
    fn a_volume_of_a_named_export_that_has_moved_is_still_the_volume() {
        let moved = |wanted: &mut Wanted<'_>| wanted.may_have_moved = true;
        assert_eq!(find("vol", "/k/a", &["new:/export/k8s"], moved), Finding::Done);
        assert!(matches!(find("vol", "/k/a", &["new:/export/k8s"], |_| ()), Finding::Taken(_)));
        assert!(matches!(find("ol", "/k/a", &["new:/export/k8s"], moved), Finding::Taken(_)));
        assert!(matches!(find("vol", "/k/c", &["new:/export/k8s"], moved), Finding::Taken(_)), "no NFS");
    }
}
