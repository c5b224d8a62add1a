//! Mount tables as the kernel writes them (proc_pid_mountinfo(5)), read without the driver's own parser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One line of a mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) id: u32,
    /// `major:minor` of the superblock.
    pub(crate) device: String,
    pub(crate) place: PathBuf,
    /// Flags of this mount alone.
    pub(crate) flags: Vec<String>,
    pub(crate) kind: String,
    pub(crate) source: String,
    /// Options of the superblock.
    pub(crate) options: Vec<String>,
}

impl Mount {
    pub(crate) fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// The value of a superblock option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|own| own.strip_prefix(name)?.strip_prefix('='))
    }
}

/// All mounts that the process sees; `self` is this one.
pub(crate) fn all(process: impl std::fmt::Display) -> Vec<Mount> {
    let text = std::fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    text.lines().map(parse).collect()
}

/// The NFS mounts that the process sees.
pub(crate) fn nfs(process: impl std::fmt::Display) -> Vec<Mount> {
    let mut mounts = all(process);
    mounts.retain(|mount| mount.kind == "nfs" || mount.kind == "nfs4");
    mounts
}

/// The NFS mounts of the guest itself, where pods begin.
pub(crate) fn of_guest() -> Vec<Mount> {
    nfs("self")
}

/// What is mounted at exactly this place in the guest, the topmost last.
pub(crate) fn at(place: &Path) -> Vec<Mount> {
    all("self").into_iter().filter(|mount| mount.place == place).collect()
}

/// How many file systems these mounts show.
pub(crate) fn devices(mounts: &[Mount]) -> usize {
    mounts.iter().map(|mount| mount.device.as_str()).collect::<BTreeSet<_>>().len()
}

/// How many NFS file systems the kernel's client has, wherever they are mounted, or still in use unmounted.
pub(crate) fn superblocks() -> usize {
    std::fs::read_to_string("/proc/fs/nfsfs/volumes").map_or(0, |text| text.lines().count() - 1)
}

/// `id parent major:minor root place flags [tag…] - kind source options`
fn parse(line: &str) -> Mount {
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    let (mount, file_system) = line.split_once(" - ").unwrap();
    let mount: Vec<&str> = mount.split(' ').collect();
    let file_system: Vec<&str> = file_system.split(' ').collect();
    Mount {
        id: mount[0].parse().unwrap(),
        device: mount[2].to_owned(),
        place: PathBuf::from(mount[4]),
        flags: list(mount[5]),
        kind: file_system[0].to_owned(),
        source: file_system[1].to_owned(),
        options: list(file_system[2]),
    }
}
