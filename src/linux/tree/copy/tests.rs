//! CopyJobs on local file systems. What NFS does is tested in the guest.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::*;

/// A source, an empty target and a directory for links.
struct Stage {
    temporary: tempfile::TempDir,
    means: Support,
    progress: Progress,
}

impl Stage {
    fn new() -> Self {
        Self::with(Support::same_export())
    }

    fn with(means: Support) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        for name in ["from", "to", "links"] {
            fs::create_dir(temporary.path().join(name)).unwrap();
        }
        Self { temporary, means, progress: Progress::default() }
    }

    fn from(&self, name: impl AsRef<Path>) -> PathBuf {
        self.temporary.path().join("from").join(name)
    }

    fn to(&self, name: impl AsRef<Path>) -> PathBuf {
        self.temporary.path().join("to").join(name)
    }

    fn copy(&self) -> Result<Summary, CopyError> {
        let open = |name| Dir::open(&self.temporary.path().join(name)).unwrap();
        let (from, to, links) = (open("from"), open("to"), open("links"));
        copy_tree(&CopyRequest {
            from: &from,
            to: &to,
            links: &links,
            means: &self.means,
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

/// All that is to be the same, of every entry below `top` and of itself. Files with several names say the first.
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
            let length = rustix::fs::listxattr(path, &mut names[..]).unwrap();
            for name in names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
                let mut value = vec![0; 65536];
                let length = rustix::fs::getxattr(path, name, &mut value[..]).unwrap();
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

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn make_old(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn remove(parent: &Path, name: &str) -> Result<(), Vec<SysError>> {
    use crate::linux::remove::{Pace, remove_tree};
    remove_tree(&Dir::open(parent).unwrap(), OsStr::new(name), &Pace::new(None))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// One of everything.
fn furnish(stage: &Stage) {
    let odd = OsStr::from_bytes(b"new\nline \xff\xfe");
    fs::create_dir_all(stage.from("a/b")).unwrap();
    fs::create_dir(stage.from(odd)).unwrap();
    fs::write(stage.from(odd).join(odd), "odd").unwrap();
    fs::write(stage.from("a").join("x".repeat(255)), "longest").unwrap();
    fs::write(stage.from("a/empty"), "").unwrap();
    fs::write(stage.from("a/file"), "content").unwrap();
    fs::hard_link(stage.from("a/file"), stage.from("a/b/same file")).unwrap();
    fs::hard_link(stage.from("a/file"), stage.from("same file")).unwrap();
    fs::write(stage.from("closed"), "nobody").unwrap();
    rustix::fs::setxattr(stage.from("a/file"), "user.name", b"value\0\xff", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(stage.from("a/b"), "user.empty", b"", XattrFlags::empty()).unwrap();
    symlink("nowhere", stage.from("dangling")).unwrap();
    symlink("/etc", stage.from("a/absolute")).unwrap();
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        rustix::fs::mknodat(CWD, stage.from(name), kind, Mode::from_raw_mode(0o640), 0).unwrap();
    }
    if is_root() {
        for name in ["a/empty", "dangling", "fifo", "a/b"] {
            std::os::unix::fs::lchown(stage.from(name), Some(1234), Some(4321)).unwrap();
        }
    }
    for (name, mode) in [("closed", 0), ("a/empty", 0o6755), ("a/b", 0o3775), ("a", 0o555), ("fifo", 0o1604)]
    {
        set_mode(&stage.from(name), mode);
    }
    for (time, name) in ["dangling", "a/file", "fifo", "a/b", "a", ""].iter().enumerate() {
        make_old(&stage.from(name), 1_000_000_000 + i64::try_from(time).unwrap());
    }
}

#[test]
fn one_of_everything_is_the_same_in_the_copy() {
    for means in [Support::same_export(), Support::without_clone(), Support::across()] {
        let stage = Stage::with(means);
        furnish(&stage);
        let summary = stage.copy_and_compare();
        assert_eq!((summary.directories, summary.files, summary.others), (4, 7, 4));
        assert_eq!((summary.vanished, summary.skipped), (0, 0));
        assert_eq!(stage.progress.files(), 11);
        assert!(fs::symlink_metadata(stage.to("socket")).unwrap().file_type().is_socket());
        let of = |name| fs::metadata(stage.to(name)).unwrap();
        assert_eq!(of("a/file").ino(), of("same file").ino());
        // The fourth name is the only thing in `links`: nothing new was taken for old.
        assert_eq!(fs::read_dir(stage.temporary.path().join("links")).unwrap().count(), 1);
        assert_eq!(of("a/file").nlink(), 4);
        set_mode(&stage.to("a"), 0o755);
        set_mode(&stage.from("a"), 0o755);
    }
}

#[test]
fn times_of_access_are_kept() {
    let stage = Stage::new();
    fs::write(stage.from("file"), "x").unwrap();
    make_old(&stage.from("file"), 5);
    stage.copy().unwrap();
    let stat = fs::metadata(stage.to("file")).unwrap();
    assert_eq!((stat.atime(), stat.atime_nsec()), (5, 123_456_789));
}

#[test]
fn holes_stay_holes_by_every_means() {
    const MIB: u64 = 1 << 20;
    for means in [Support::same_export(), Support::without_clone(), Support::across()] {
        let stage = Stage::with(means);
        for (name, length) in
            [("data at the end", 64 * MIB + 4), ("hole at the end", 70 * MIB), ("hole", MIB)]
        {
            let file = fs::File::create(stage.from(name)).unwrap();
            if length > MIB {
                file.write_all_at(b"begin", 3 * MIB).unwrap();
                file.write_all_at(b"end", 64 * MIB + 1).unwrap();
            }
            file.set_len(length).unwrap();
        }
        stage.copy_and_compare();
        for name in ["data at the end", "hole at the end", "hole"] {
            let allocated = |path| fs::metadata(path).unwrap().blocks();
            assert_eq!(allocated(stage.to(name)), allocated(stage.from(name)), "{name}");
        }
    }
}

/// As over an NFS that cannot be asked for holes.
#[test]
fn zeros_are_left_out_of_a_sparse_file() {
    let temporary = tempfile::tempdir().unwrap();
    let (from, to) = (temporary.path().join("from"), temporary.path().join("to"));
    let data: Vec<u8> = (0..40).flat_map(|block| [u8::from(block % 3 == 0); 4096]).chain([7; 10]).collect();
    fs::write(&from, &data).unwrap();
    let stage = Stage::new();
    let dir = Dir::open(temporary.path()).unwrap();
    let order = CopyRequest {
        from: &dir,
        to: &dir,
        links: &dir,
        means: &stage.means,
        devices: DeviceNodes::Skip,
        progress: &stage.progress,
    };
    file_data::copy_by_zeros(&state::CopyState::new(&order), &from, &to);
    assert_eq!(fs::read(&to).unwrap(), data);
    assert_eq!(fs::metadata(&to).unwrap().blocks(), 8 * (14 + 1));
}

#[test]
fn a_large_and_deep_tree_is_whole() {
    let stage = Stage::new();
    for number in 0..3000 {
        fs::write(stage.from(format!("file {number}")), number.to_string()).unwrap();
    }
    let mut place = stage.from("");
    for number in 0..300 {
        place.push(format!("d{number}"));
        fs::create_dir(&place).unwrap();
        fs::write(place.join("file"), number.to_string()).unwrap();
    }
    let summary = stage.copy_and_compare();
    assert_eq!((summary.files, summary.directories), (3300, 301));
}

#[test]
fn what_is_nested_too_deeply_is_refused_and_dropped_without_a_stack_of_its_depth() {
    crate::linux::raise_open_files().unwrap();
    let stage = Stage::new();
    let mut dir = Dir::open(&stage.from("")).unwrap();
    for _ in 0..walk::DEEPEST {
        dir.make_dir("d", 0o700).unwrap();
        dir = dir.open_dir("d").unwrap().with_label("");
    }
    let error = stage.copy().unwrap_err();
    assert!(matches!(&error, CopyError::TooDeep(path) if path.ends_with("d/d/d")), "{error}");
    assert!(error.to_string().len() < 2000, "{error}");
    for name in ["from", "to"] {
        remove(stage.temporary.path(), name).unwrap();
    }
}

#[test]
fn a_copy_that_is_cancelled_says_so() {
    let stage = Stage::new();
    fs::write(stage.from("file"), "x").unwrap();
    stage.progress.cancel();
    assert!(matches!(stage.copy(), Err(CopyError::Cancelled)));
    assert!(!stage.to("file").exists());
}

#[test]
fn a_top_that_is_gone_is_no_empty_copy() {
    let stage = Stage::new();
    let from = Dir::open(&stage.from("")).unwrap();
    let (to, links) =
        (Dir::open(&stage.to("")).unwrap(), Dir::open(&stage.temporary.path().join("links")).unwrap());
    fs::remove_dir(stage.from("")).unwrap();
    let order = CopyRequest {
        from: &from,
        to: &to,
        links: &links,
        means: &stage.means,
        devices: DeviceNodes::Copy,
        progress: &stage.progress,
    };
    assert!(matches!(copy_tree(&order), Err(CopyError::Failed(_))));
}

#[test]
fn an_older_state_of_a_name_in_the_copy_gives_way() {
    let stage = Stage::new();
    for name in ["file", "other file", "dir", "link"] {
        fs::create_dir(stage.to(name)).unwrap();
    }
    fs::remove_dir(stage.to("other file")).unwrap();
    fs::write(stage.to("other file"), "old and longer").unwrap();
    fs::hard_link(stage.to("other file"), stage.to("kept")).unwrap();
    fs::write(stage.from("file"), "new").unwrap();
    fs::write(stage.from("other file"), "new").unwrap();
    fs::create_dir(stage.from("dir")).unwrap();
    symlink("x", stage.from("link")).unwrap();
    stage.copy().unwrap();
    assert_eq!(fs::read(stage.to("file")).unwrap(), b"new");
    assert_eq!(fs::read(stage.to("other file")).unwrap(), b"new");
    assert_eq!(fs::read(stage.to("kept")).unwrap(), b"old and longer");
    assert_eq!(fs::read_link(stage.to("link")).unwrap(), Path::new("x"));
}

#[test]
fn device_nodes_are_left_out_and_counted() {
    let stage = Stage::new();
    let null = rustix::fs::makedev(1, 3);
    let made = rustix::fs::mknodat(
        CWD,
        stage.from("null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o600),
        null,
    );
    if !is_root() || made.is_err() {
        return;
    }
    assert_eq!(stage.copy().unwrap().skipped, 1);
    assert!(!stage.to("null").exists());
}

/// While a process creates, truncates, renames and removes, and puts links to a secret in the place of directories.
#[test]
fn a_tree_that_changes_is_copied_and_nothing_outside_is_touched() {
    let stage = Stage::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::create_dir(stage.from("d")).unwrap();
    let end = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                let file = stage.from(format!("d/{}", round % 7));
                let _ = fs::write(&file, vec![1; round % 10_000]);
                let _ = fs::rename(&file, stage.from(format!("d/r{}", round % 5)));
                let _ = fs::create_dir_all(stage.from(format!("e/{}", round % 3)));
                let _ = fs::write(stage.from(format!("e/{}/f", round % 3)), "x");
                let _ = fs::rename(stage.from("e"), stage.from("f"));
                let _ = symlink(outside.path(), stage.from("e"));
                let _ = fs::remove_file(stage.from("e"));
                let _ = remove(&stage.from(""), "f");
            }
        });
        let mut copies = 0;
        for _ in 0..200 {
            let outcome = stage.copy();
            end.store(outcome.is_err(), std::sync::atomic::Ordering::Relaxed);
            outcome.unwrap();
            copies += survey(&stage.to(""))
                .into_values()
                .inspect(|entry| assert!(!entry.contains("secret")))
                .count();
            for name in ["to", "links"] {
                remove(stage.temporary.path(), name).unwrap();
                fs::create_dir(stage.temporary.path().join(name)).unwrap();
            }
        }
        end.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(copies > 200, "{copies}");
    });
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}
