//! Copies of trees that a hostile tenant changes meanwhile.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nfs_subdir_csi::linux::copy::Support;

use crate::copies::stage::Stage;
use crate::fixture::say;

const SECRET: &str = "a secret of the node";
/// Number of copies in a test, unless the time is over before.
const ROUNDS: usize = 300;
const LONGEST: Duration = Duration::from_secs(40);

/// Changes a tree in every harmful way until `end` is set.
fn disturb(top: &Path, outside: &Path, end: &AtomicBool) {
    let path = |name: String| top.join(name);
    for round in 0.. {
        if end.load(Ordering::Relaxed) {
            return;
        }
        let _ = fs::create_dir_all(path(format!("d{}/inner", round % 3)));
        let file = path(format!("d{}/file{}", round % 3, round % 11));
        let _ = open(&file).and_then(|file| file.write_all_at(&vec![b'x'; round * 37 % 20_000], 0));
        let _ = open(&file).and_then(|file| file.set_len(round as u64 % 5));
        let _ = fs::hard_link(&file, path(format!("d{}/inner/link{}", round % 3, round % 5)));
        let _ = fs::rename(&file, path(format!("renamed{}", round % 7)));
        let _ = fs::remove_file(path(format!("renamed{}", (round + 3) % 7)));
        // Replaces a file by a directory, and a directory by a link.
        let _ = fs::create_dir(path(format!("renamed{}", (round + 3) % 7)));
        let _ = fs::remove_dir(path(format!("renamed{}", (round + 2) % 7)));
        let _ = fs::rename(path(format!("d{}", round % 3)), path("aside".into()));
        let _ = symlink(outside, path(format!("d{}", round % 3)));
        let _ = symlink(outside.join("secret"), path(format!("d{}/file0", (round + 1) % 3)));
        let _ = fs::remove_file(path(format!("d{}", round % 3)));
        if round % 4 == 0 {
            let _ = fs::rename(path("aside".into()), path(format!("d{}", round % 3)));
        } else if let Ok(share) = nfs_subdir_csi::linux::Dir::open(top) {
            let pace = nfs_subdir_csi::linux::remove::Pace::new(None);
            let _ = nfs_subdir_csi::linux::remove::remove_tree(&share, "aside".as_ref(), &pace);
        }
    }
}

/// Opens a file without following the links that [`disturb`] has made itself.
fn open(path: &Path) -> std::io::Result<File> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    File::options().write(true).create(true).truncate(false).custom_flags(no_link).open(path)
}

/// Checks that no file below `top` contains the secret. Follows no links. Returns the number of files.
fn search(top: &Path) -> usize {
    let (mut todo, mut files) = (vec![top.to_owned()], 0);
    while let Some(path) = todo.pop() {
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            todo.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_file() {
            files += 1;
            let content = fs::read(&path).unwrap();
            assert!(content.iter().all(|byte| *byte == b'x' || *byte == 0), "{}", path.display());
        }
    }
    files
}

/// With `by_client`, the tree is changed through the mount that the copy uses, as by a pod of the same node. Otherwise it is
/// changed on the server, as by another client.
async fn nothing_outside_is_read_or_touched(version: &str, by_client: bool) {
    let stage = Stage::set("/share", version).await;
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let before = outside.path().metadata().unwrap().ctime_nsec();
    let top: PathBuf = if by_client { stage.mounted_source() } else { stage.source() };
    let end = AtomicBool::new(false);
    let support = Support::same_export();
    std::thread::scope(|scope| {
        let disturber = scope.spawn(|| disturb(&top, outside.path(), &end));
        // The scope waits for the other thread, so it must be ended even if a copy fails.
        let copied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let begun = Instant::now();
            let (mut rounds, mut files, mut vanished) = (0, 0, 0);
            while rounds < ROUNDS && begun.elapsed() < LONGEST {
                vanished +=
                    stage.copy(&support).unwrap_or_else(|error| panic!("round {rounds}: {error}")).vanished;
                files += search(&stage.target());
                stage.remove_copy();
                rounds += 1;
            }
            say(&format!("NFS {version}: {rounds} copies with {files} files; {vanished} entries vanished"));
            assert!(files > rounds, "nothing was copied");
        }));
        end.store(true, Ordering::Relaxed);
        disturber.join().unwrap();
        if let Err(panic) = copied {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(fs::read_to_string(&secret).unwrap(), SECRET);
    assert_eq!(outside.path().metadata().unwrap().ctime_nsec(), before);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_copy_survives_what_another_client_does_on_nfs_4_2() {
    nothing_outside_is_read_or_touched("4.2", false).await;
}

#[tokio::test]
async fn a_copy_survives_what_another_client_does_on_nfs_3() {
    nothing_outside_is_read_or_touched("3", false).await;
}

#[tokio::test]
async fn a_copy_survives_what_a_pod_of_the_same_node_does() {
    nothing_outside_is_read_or_touched("4.2", true).await;
}

/// A large file is cut and extended while it is copied.
#[tokio::test]
async fn a_file_that_shrinks_and_grows_does_not_fail_the_copy() {
    let stage = Stage::set("/share", "4.1").await;
    let path = stage.source().join("file");
    let end = AtomicBool::new(false);
    fs::write(&path, vec![b'x'; 8 << 20]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::options().write(true).open(&path).unwrap();
            while !end.load(Ordering::Relaxed) {
                file.set_len(3 << 20).unwrap();
                file.write_all_at(&vec![b'x'; 9 << 20], 0).unwrap();
            }
        });
        let copied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..20 {
                stage.copy(&Support::across()).unwrap();
                assert_eq!(search(&stage.target()), 1);
                assert!(stage.target().join("file").metadata().unwrap().len() <= 9 << 20);
                stage.remove_copy();
            }
        }));
        end.store(true, Ordering::Relaxed);
        if let Err(panic) = copied {
            std::panic::resume_unwind(panic);
        }
    });
}
