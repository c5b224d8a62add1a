//! Copies on local file systems. Copies on NFS are tested in `tests/kernel`.

mod changes;
mod faithful;
mod holes;
mod limits;

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknodat, utimensat};
use nix::sys::time::TimeSpec;

use super::*;
use crate::linux::dir::Dir;
use crate::linux::error::SysError;
use crate::linux::raw;
use crate::linux::remove::{Pace, remove_tree};

/// A source, an empty target, and a directory for links.
struct Stage {
    temporary: tempfile::TempDir,
    support: Support,
    progress: Progress,
}

impl Stage {
    fn new() -> Self {
        Self::with(Support::same_export())
    }

    fn with(support: Support) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        for name in ["from", "to", "links"] {
            fs::create_dir(temporary.path().join(name)).unwrap();
        }
        Self { temporary, support, progress: Progress::default() }
    }

    fn from(&self, name: impl AsRef<Path>) -> PathBuf {
        self.temporary.path().join("from").join(name)
    }

    fn to(&self, name: impl AsRef<Path>) -> PathBuf {
        self.temporary.path().join("to").join(name)
    }

    fn copy(&self) -> Result<Summary, CopyError> {
        let dir = |name| Dir::open(&self.temporary.path().join(name)).unwrap();
        let (from, to, links) = (dir("from"), dir("to"), dir("links"));
        copy_tree(&CopyRequest {
            from: &from,
            to: &to,
            links: &links,
            support: &self.support,
            devices: DeviceNodes::Skip,
            progress: &self.progress,
        })
    }

    fn copy_and_compare(&self) -> Summary {
        let summary = self.copy().unwrap();
        let (from, to) = (survey(&self.from("")), survey(&self.to("")));
        assert_eq!(from.keys().collect::<Vec<_>>(), to.keys().collect::<Vec<_>>());
        for (path, entry) in from {
            assert_eq!(entry, to[&path], "{}", path.display());
        }
        summary
    }
}

/// Everything that must be equal in the copy, for `top` and every entry below it. A file with several hard links is
/// described with its first name.
fn survey(top: &Path) -> BTreeMap<PathBuf, String> {
    fn visit(
        top: &Path,
        path: &Path,
        inodes: &mut BTreeMap<u64, PathBuf>,
        found: &mut BTreeMap<PathBuf, String>,
    ) {
        let stat = fs::symlink_metadata(path).unwrap();
        let kind = stat.file_type();
        let own = path.strip_prefix(top).unwrap().to_owned();
        let content = if kind.is_file() {
            format!(
                "{} {}",
                digest(&fs::read(path).unwrap()),
                inodes.entry(stat.ino()).or_insert_with(|| own.clone()).display()
            )
        } else if kind.is_symlink() {
            format!("{:?}", fs::read_link(path).unwrap())
        } else {
            String::new()
        };
        let mut attributes = Vec::new();
        if kind.is_file() || kind.is_dir() {
            let mut names = vec![0; 4096];
            let length = raw::listxattr(path, &mut names).unwrap();
            for name in names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
                let mut value = vec![0; 65536];
                let length = raw::getxattr(path, &CString::new(name).unwrap(), &mut value).unwrap();
                value.truncate(length);
                attributes.push((name.to_vec(), value));
            }
            attributes.sort();
        }
        found.insert(
            own,
            format!(
                "{kind:?} {:o} {}:{} {}.{} {} {content} {attributes:?}",
                stat.mode(),
                stat.uid(),
                stat.gid(),
                stat.mtime(),
                stat.mtime_nsec(),
                if kind.is_dir() { 0 } else { stat.len() },
            ),
        );
        if kind.is_dir() {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            for name in names {
                visit(top, &name, inodes, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(top, top, &mut BTreeMap::new(), &mut found);
    found
}

fn digest(content: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:x} {}", hasher.finish(), content[..content.len().min(20)].escape_ascii())
}

fn open(path: &Path) -> fs::File {
    fs::File::open(path).unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn make_old(path: &Path, seconds: i64) {
    let time = TimeSpec::new(seconds, 123_456_789);
    utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
}

fn remove(parent: &Path, name: &str) -> Result<(), Vec<SysError>> {
    remove_tree(&Dir::open(parent).unwrap(), OsStr::new(name), &Pace::new(None))
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
