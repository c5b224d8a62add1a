//! A tree with every kind of entry, made on the server's own file system.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nfs_subdir_csi::linux::Dir;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, utimensat,
};

use crate::fixture::server;

const MIB: u64 = 1 << 20;

/// What an NFS version can transport.
#[derive(Clone, Copy)]
pub(crate) struct Kinds {
    /// Extended attributes `user.*`, which only NFS 4.2 has.
    pub(crate) user_attributes: bool,
    /// Length of the sparse file. Only NFS 4.2 can ask for holes. The other versions read every byte, and reading a TiB would
    /// take an hour.
    pub(crate) sparse_length: u64,
}

impl Kinds {
    pub(crate) fn of(version: &str) -> Self {
        let is_newest = version == "4.2";
        Self { user_attributes: is_newest, sparse_length: if is_newest { 1 << 40 } else { 96 * MIB } }
    }
}

/// The sparse file has three pieces of data, the last one at the end.
pub(crate) const SPARSE: &str = "sparse";

pub(crate) fn sparse_data(length: u64) -> [(u64, usize); 3] {
    [(8 * MIB, 4096), (length / 2, 100_000), (length - 5000, 5000)]
}

/// Makes the tree in an empty directory.
pub(crate) fn build(top: &Path, kinds: Kinds) {
    names(top);
    files(top, kinds);
    others(top);
    lists(top);
    if kinds.user_attributes {
        for (name, attribute, value) in [
            ("dir/file", "user.text", &b"some text"[..]),
            ("dir/file", "user.bytes", &[0, 255, b'\n', 0]),
            ("closed", "user.large", &vec![b'x'; 60_000]),
            ("dir", "user.of a directory", b""),
        ] {
            rustix::fs::setxattr(top.join(name), attribute, value, XattrFlags::empty()).unwrap();
        }
    }
    for (name, owner, mode) in [
        ("dir/setuid", (1234, 4321), 0o6755),
        ("closed", (1234, 1234), 0),
        ("dir/setgid", (0, 4321), 0o2770),
        ("dir/setgid/inner", (99, 4321), 0o2777),
        ("sticky", (0, 0), 0o1777),
        ("foreign", (65534, 65534), 0o711),
        ("without x", (1000, 1000), 0o640),
        ("fifo", (1234, 0), 0o4604),
        ("absolute", (1234, 4321), 0o777),
    ] {
        lchown(top.join(name), Some(owner.0), Some(owner.1)).unwrap();
        if name != "absolute" {
            fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    times(top);
}

fn names(top: &Path) {
    for name in ["dir/setgid/inner", "sticky", "foreign/empty", "without x", "dir/one/two/three"] {
        fs::create_dir_all(top.join(name)).unwrap();
    }
    let hostile: [&[u8]; 5] = [b"new\nline", b"\xff\xfe\x80 no text", b" ", b"-n", b"*?\\'\"$(reboot)"];
    let longest = [b'x'; 255];
    for name in hostile.into_iter().chain([&longest[..]]) {
        let dir = top.join("sticky").join(OsStr::from_bytes(name));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    for number in 0..700 {
        fs::write(top.join("foreign").join(format!("one of many {number}")), number.to_string()).unwrap();
    }
}

fn files(top: &Path, kinds: Kinds) {
    for (name, content) in
        [("dir/file", "content"), ("dir/setuid", "#!"), ("closed", "secret"), ("empty", "")]
    {
        fs::write(top.join(name), content).unwrap();
    }
    fs::write(
        top.join("large"),
        (0..5_000_000u32).flat_map(u32::to_le_bytes).take(5_000_001).collect::<Vec<u8>>(),
    )
    .unwrap();
    for name in ["dir/one/two/hard link", "foreign/hard link", "hard link"] {
        fs::hard_link(top.join("dir/file"), top.join(name)).unwrap();
    }
    let sparse = File::create(top.join(SPARSE)).unwrap();
    for (at, length) in sparse_data(kinds.sparse_length) {
        sparse.write_all_at(&vec![b's'; length], at).unwrap();
    }
    File::create(top.join("only a hole")).unwrap().set_len(3 * MIB).unwrap();
    let ends = File::create(top.join("hole at the end")).unwrap();
    ends.write_all_at(b"data", 0).unwrap();
    ends.set_len(3 * MIB + 1).unwrap();
}

fn others(top: &Path) {
    symlink("nowhere/at all", top.join("dangling")).unwrap();
    symlink("/etc/passwd", top.join("absolute")).unwrap();
    symlink("../..", top.join("dir/upwards")).unwrap();
    symlink(OsStr::from_bytes(&[b'y'; 1000]), top.join("long link")).unwrap();
    fs::hard_link(top.join("dangling"), top.join("dir/dangling too")).unwrap();
    let node = |name: &str, kind, device| {
        mknodat(CWD, top.join(name), kind, Mode::from_raw_mode(0o600), device).unwrap();
    };
    node("fifo", FileType::Fifo, 0);
    node("dir/fifo", FileType::Fifo, 0);
    node("socket", FileType::Socket, 0);
    node("dir/character device", FileType::CharacterDevice, makedev(1, 3));
    node("block device", FileType::BlockDevice, makedev(7, 200));
    fs::hard_link(top.join("fifo"), top.join("dir/same fifo")).unwrap();
}

/// Access control lists of the kind that the server's file system supports.
fn lists(top: &Path) {
    let setfacl = |args: &[&str], name: &str| {
        server::run(Command::new("setfacl").args(args).arg(top.join(name)));
    };
    setfacl(&["-m", "u:1234:rwx,g:4321:r,m:rwx"], "dir/file");
    setfacl(&["-m", "u:99:x,o:-"], "dir/one");
    setfacl(&["-m", "g:99:rx"], "dir/fifo");
    setfacl(&["-d", "-m", "u:1234:rwx,g:4321:rx,o:-"], "dir/one/two");
    setfacl(&["-m", "u:77:rwx"], "dir/setgid");
    setfacl(&["-d", "-m", "u:77:rwx"], "dir/setgid");
}

/// Sets times in the past, a different one for each entry. Directories come after their entries.
fn times(top: &Path) {
    let mut paths = vec![top.to_owned()];
    let mut next = 0;
    while next < paths.len() {
        if paths[next].symlink_metadata().unwrap().is_dir() {
            let below: Vec<PathBuf> =
                paths[next].read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.extend(below);
        }
        next += 1;
    }
    for (number, path) in paths.iter().enumerate().rev() {
        let time =
            |seconds| Timespec { tv_sec: seconds, tv_nsec: 123_456_789 + i64::try_from(number).unwrap() };
        let modified = i64::try_from(number).unwrap() * 86_400 + 1;
        let times = Timestamps { last_access: time(modified + 5), last_modification: time(modified) };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Number of nested directories. The path of the innermost is longer than PATH_MAX.
const LEVELS: usize = 40;

/// Makes a tree whose paths are too long for most programs.
pub(crate) fn build_deep(top: &Path) {
    let mut dir = Dir::open(top).unwrap();
    for level in 0..LEVELS {
        dir.create_file("file", level.to_string().as_bytes()).unwrap();
        dir.make_dir(level_name(level), 0o751).unwrap();
        dir = dir.open_dir(level_name(level)).unwrap();
    }
}

/// Compares two deep trees, level by level.
pub(crate) fn assert_same_deep(source: &Path, copy: &Path) {
    let (mut source, mut copy) = (Dir::open(source).unwrap(), Dir::open(copy).unwrap());
    for level in 0..LEVELS {
        let file = |dir: &Dir| dir.read_file("file", 10).unwrap().unwrap();
        assert_eq!(file(&source), file(&copy), "level {level}");
        let stat = |dir: &Dir, name: &OsStr| {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            (stat.st_mode, stat.st_uid, stat.st_mtime, stat.st_mtime_nsec)
        };
        let name = level_name(level);
        for name in [OsStr::new("file"), OsStr::new(&name)] {
            assert_eq!(stat(&source, name), stat(&copy, name), "level {level}");
        }
        assert_eq!(copy.entries(3).unwrap().len(), 2);
        (source, copy) = (source.open_dir(&name).unwrap(), copy.open_dir(&name).unwrap());
    }
    assert_eq!(copy.entries(1).unwrap(), []);
}

fn level_name(level: usize) -> String {
    format!("{level:0255}")
}
