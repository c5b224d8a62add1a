//! Directories beside the volumes that no call may change. A fixture plants them before each test. When the fixture is
//! dropped, it fails the test if anything in them has changed, whatever the test is about.

#![allow(dead_code, reason = "each user needs a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

/// The names of the two canaries in each directory. The second one begins like the names of most volumes in the tests.
const NAMES: [&str; 2] = ["canary", "v.canary"];

/// Directories that no call may change, with files of every kind in them.
pub(crate) struct Canary {
    places: Vec<PathBuf>,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// Plants canaries in each of these directories.
    pub(crate) fn plant(beside: &[PathBuf]) -> Self {
        let places: Vec<PathBuf> =
            beside.iter().flat_map(|directory| NAMES.map(|name| directory.join(name))).collect();
        for place in &places {
            // An earlier test may have used the same directory.
            assert!(Command::new("rm").arg("-rf").arg(place).status().unwrap().success());
            fill(place);
        }
        let before = fingerprint(&places);
        assert!(before.len() > places.len() * 20);
        Self { places, before }
    }

    /// The canaries' directories.
    pub(crate) fn places(&self) -> &[PathBuf] {
        &self.places
    }

    /// Whether an entry of a directory is a canary.
    pub(crate) fn is_named(name: &str) -> bool {
        NAMES.contains(&name)
    }

    /// Everything that has changed since the canaries were planted.
    fn changes(&self) -> Vec<String> {
        let after = fingerprint(&self.places);
        let paths: BTreeSet<&PathBuf> = self.before.keys().chain(after.keys()).collect();
        let changed = paths.into_iter().filter(|path| self.before.get(*path) != after.get(*path));
        let line =
            |all: &BTreeMap<PathBuf, String>, path| all.get(path).map_or("not there", |line| line).to_owned();
        changed
            .map(|path| {
                format!(
                    "{}\n  was {}\n  is  {}",
                    path.display(),
                    line(&self.before, path),
                    line(&after, path)
                )
            })
            .collect()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // A test that has already failed has printed its own reason.
        if !std::thread::panicking() {
            let changes = self.changes();
            assert!(changes.is_empty(), "files outside of all volumes have changed:\n{}", changes.join("\n"));
        }
    }
}

/// Fills a directory with everything that a call could look for in a wrong place: the names of claims, of their parents and
/// of the state directory.
fn fill(place: &Path) {
    for dir in ["v", "sub/v", "claim/deep", "ns", "volumes", "work", "trash/v.1", "empty"] {
        fs::create_dir_all(place.join(dir)).unwrap();
    }
    let files =
        ["file", "v/file", "sub/file", "sub/v/file", "claim/deep/file", "volumes/v.json", "trash/v.1/file"];
    for (number, file) in files.into_iter().enumerate() {
        fs::write(place.join(file), format!("content {number}")).unwrap();
    }
    fs::write(place.join(".hidden"), "").unwrap();
    fs::write(place.join(std::ffi::OsStr::from_bytes(b"no text \xff\n")), "x").unwrap();
    fs::hard_link(place.join("file"), place.join("ns/second name")).unwrap();
    for (name, target) in [("dangling", "nowhere"), ("up", ".."), ("absolute", "/"), ("beside", "claim/deep")]
    {
        symlink(target, place.join(name)).unwrap();
    }
    drop(UnixListener::bind(place.join("socket")).unwrap());
    let special =
        |name: &str, kind, device| mknod(&place.join(name), kind, Mode::from_bits_truncate(0o640), device);
    special("fifo", SFlag::S_IFIFO, 0).unwrap();
    match special("device", SFlag::S_IFCHR, makedev(1, 3)) {
        // Only root may make a device node, and not in every container.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(error) => panic!("mknod: {error}"),
    }
    if nix::unistd::geteuid().is_root() {
        chown(place.join("v/file"), Some(1234), Some(5678)).unwrap();
        lchown(place.join("dangling"), Some(1234), Some(5678)).unwrap();
        chown(place.join("claim"), Some(1234), Some(5678)).unwrap();
    }
    for (name, mode) in
        [("file", 0o4751), ("v/file", 0o400), ("claim", 0o2750), ("sub", 0o1777), (".", 0o751)]
    {
        fs::set_permissions(place.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The content of every entry and everything that stat(2) says about it except the time of the last access. The time of the
/// inode's last change is included, which no program can set back.
pub(crate) fn fingerprint(places: &[PathBuf]) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut todo = places.to_vec();
    while let Some(path) = todo.pop() {
        // A missing entry is noticed because it is missing from the map.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        let kind = metadata.file_type();
        let content = if kind.is_dir() {
            todo.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!("link to {}", path.read_link().unwrap().display())
        } else if kind.is_file() {
            format!("file {:?}", String::from_utf8_lossy(&fs::read(&path).unwrap()))
        } else {
            assert!(
                kind.is_fifo() || kind.is_socket() || kind.is_char_device(),
                "{}: {kind:?}",
                path.display()
            );
            format!("device {}", metadata.rdev())
        };
        let line = format!(
            "{content}, mode {:o}, owner {}:{}, {} links, {} bytes, modified {}.{}, changed {}.{}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.nlink(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        );
        found.insert(path, line);
    }
    found
}

#[test]
fn a_change_of_any_kind_is_noticed() {
    type Change = fn(&Path) -> std::io::Result<()>;
    let changes: [Change; 12] = [
        |place| fs::write(place.join("v/file"), "other content"),
        |place| fs::File::open(place.join("file"))?.set_modified(std::time::SystemTime::now()),
        |place| fs::set_permissions(place.join("claim"), fs::Permissions::from_mode(0o2751)),
        |place| fs::remove_file(place.join("fifo")),
        |place| fs::remove_dir(place.join("empty")),
        |place| fs::write(place.join("new"), ""),
        |place| fs::create_dir(place.join("claim/new")),
        |place| fs::rename(place.join("v"), place.join("w")),
        |place| fs::hard_link(place.join(".hidden"), place.join("../third name")),
        |place| fs::remove_file(place.join("up")).and_then(|()| symlink("../..", place.join("up"))),
        |place| fs::remove_file(place.join("claim/deep/file")),
        |place| fs::rename(place, place.with_file_name("archived-canary")),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let temporary = tempfile::tempdir().unwrap();
        let canary = Canary::plant(&[temporary.path().to_owned()]);
        assert_eq!(canary.changes(), Vec::<String>::new());
        change(&canary.places()[1]).unwrap();
        assert!(!canary.changes().is_empty(), "change {number}");
        std::mem::forget(canary);
    }
}
