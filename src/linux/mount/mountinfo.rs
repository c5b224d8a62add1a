//! The kernel's table of mounts, `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
//!
//! Reading it sends no request to any file system, so it works while an NFS server is dead. The driver has no other
//! way to find out what is mounted where.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::linux::error::{Result, SysError};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the superblock. It is the same for all mounts of one export with the same NFS options.
    pub device: String,
    /// The mount point.
    pub mount_point: PathBuf,
    /// Options of this mount alone, such as `ro` and `nosuid`.
    pub options: Vec<String>,
    /// Whether mounts below this one propagate to other mount namespaces (tag `shared:`).
    pub shared: bool,
    /// File system type, such as `nfs4`, `nfs` or `ext4`.
    pub fs_type: String,
    /// What is mounted. For a bind mount of a directory on NFS this includes the directory, for example
    /// `10.0.0.5:/srv/k8s/volume`.
    pub source: OsString,
}

impl Mount {
    /// Whether this mount has the option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    /// Whether it is NFS, of any version.
    #[must_use]
    pub fn is_nfs(&self) -> bool {
        matches!(self.fs_type.as_str(), "nfs" | "nfs4")
    }
}

/// All mounts, in the kernel's order. If two have the same mount point, the later one covers the earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountTable(Vec<Mount>);

impl MountTable {
    /// Reads the table of this process's mount namespace.
    pub fn read() -> Result<Self> {
        let text = std::fs::read(MOUNTINFO).map_err(|e| SysError::new("read", MOUNTINFO, e))?;
        Ok(Self::parse(&text))
    }

    /// Parses the content of the file. Ignores a line that does not have the documented form.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        Self(text.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
    }

    /// The topmost mount with exactly this mount point.
    #[must_use]
    pub fn at(&self, place: &Path) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.mount_point == place)
    }

    /// The number of mounts with exactly this mount point.
    #[must_use]
    pub fn count_at(&self, place: &Path) -> usize {
        self.0.iter().filter(|mount| mount.mount_point == place).count()
    }

    /// The mount that `path` is on.
    #[must_use]
    pub fn holding(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|place| self.at(place))
    }

    /// All mounts.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }
}

impl FromIterator<Mount> for MountTable {
    fn from_iter<I: IntoIterator<Item = Mount>>(mounts: I) -> Self {
        Self(mounts.into_iter().collect())
    }
}

/// `id parent major:minor root mount-point options [tag…] - type source super-options`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = text(fields.nth(2)?);
    let mount_point = PathBuf::from(unescape(fields.nth(1)?));
    let options = text(fields.next()?).split(',').map(str::to_owned).collect();
    let shared = fields.by_ref().take_while(|&field| field != b"-").any(|tag| tag.starts_with(b"shared:"));
    // `any` stops at the first match, which is before the separator `-`. Without a match it has consumed the separator.
    if shared {
        fields.by_ref().find(|&field| field == b"-")?;
    }
    let fs_type = text(fields.next()?);
    let source = unescape(fields.next()?);
    Some(Mount { device, mount_point, options, shared, fs_type, source })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

/// Replaces the kernel's escapes. Each is a backslash and three octal digits, and means one byte.
pub(super) fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let escape = (first, after);
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = escape {
            bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    OsString::from_vec(bytes)
}

/// Whether `source` is the directory `sub_dir` of the mount with the source `share`. Both sources are in the
/// kernel's form.
#[must_use]
pub fn is_below(source: &OsString, share: &[u8], sub_dir: &Path) -> bool {
    let share = share.strip_suffix(b"/").unwrap_or(share);
    if sub_dir.as_os_str().is_empty() {
        let source = source.as_bytes();
        return source.strip_suffix(b"/").unwrap_or(source) == share;
    }
    source
        .as_bytes()
        .strip_prefix(share)
        .and_then(|rest| rest.strip_prefix(b"/"))
        .is_some_and(|rest| rest == sub_dir.as_os_str().as_bytes())
}

/// Whether `source` is the directory `sub_dir` of any share. A share itself is not.
#[must_use]
pub fn ends_with(source: &OsString, sub_dir: &Path) -> bool {
    if sub_dir.as_os_str().is_empty() {
        return false;
    }
    let share = source.as_bytes().strip_suffix(sub_dir.as_os_str().as_bytes());
    share.and_then(|share| share.strip_suffix(b"/")).is_some_and(|share| share.contains(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/
31 22 0:26 / /var/lib/kubelet rw,relatime shared:7 master:2 - tmpfs kubelet rw,size=512m
40 31 0:41 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pv/mount ro,nosuid,nodev,relatime shared:9 - nfs4 10.0.0.5:/srv/ns-claim-pv rw,vers=4.2
41 22 0:42 / /mnt/a\\040b rw - nfs 10.0.0.5:/with\\134odd\\012name rw,vers=3
not a mount line
";

    #[test]
    fn recorded_lines_are_read() {
        let table = MountTable::parse(LINES.as_bytes());
        assert_eq!(table.iter().count(), 4);
        let place = Path::new("/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pv/mount");
        let mount = table.at(place).unwrap();
        assert_eq!(mount.device, "0:41");
        assert_eq!(mount.fs_type, "nfs4");
        assert_eq!(mount.source, "10.0.0.5:/srv/ns-claim-pv");
        assert!(mount.has("ro") && mount.has("nosuid") && !mount.has("noexec") && mount.shared);
    }

    #[test]
    fn escaped_bytes_are_restored_and_a_mount_without_tags_is_private() {
        let table = MountTable::parse(LINES.as_bytes());
        let mount = table.at(Path::new("/mnt/a b")).unwrap();
        assert_eq!(mount.source, "10.0.0.5:/with\\odd\nname");
        assert!(!mount.shared && mount.is_nfs());
    }

    #[test]
    fn the_last_line_is_the_topmost_mount() {
        let twice = "1 0 0:1 / /m rw - tmpfs a rw\n2 1 0:2 / /m rw - tmpfs b rw\n";
        let table = MountTable::parse(twice.as_bytes());
        assert_eq!(table.at(Path::new("/m")).unwrap().source, "b");
        assert_eq!(table.count_at(Path::new("/m")), 2);
    }

    #[test]
    fn a_path_is_on_its_nearest_mount() {
        let table = MountTable::parse(LINES.as_bytes());
        assert_eq!(table.holding(Path::new("/var/lib/kubelet/pods/x")).unwrap().fs_type, "tmpfs");
        assert_eq!(table.holding(Path::new("/var/lib")).unwrap().fs_type, "overlay");
    }

    #[test]
    fn a_source_is_compared_with_its_share_by_whole_components() {
        let source = OsString::from("h:/srv/vol");
        assert!(is_below(&source, b"h:/srv", Path::new("vol")));
        assert!(is_below(&source, b"h:/", Path::new("srv/vol")));
        assert!(!is_below(&source, b"h:/sr", Path::new("v/vol")));
        assert!(!is_below(&source, b"h:/srv", Path::new("volume")));
        assert!(ends_with(&source, Path::new("vol")) && ends_with(&source, Path::new("srv/vol")));
        assert!(!ends_with(&source, Path::new("ol")) && !ends_with(&source, Path::new("h:/srv/vol")));
        assert!(!ends_with(&source, Path::new("")));
    }
}
