//! Archives of real trees: the result equals the original.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink as link_to};
use std::process::Command;

use super::super::{Archive, Compression};
use super::*;

/// A tree with every kind of entry that an archive can have.
fn tree() -> tempfile::TempDir {
    let temporary = tempfile::tempdir().unwrap();
    let at = |path: &str| temporary.path().join(path);
    for dir in ["empty", "dir", "dir/sub", "shut", "setgid"] {
        std::fs::create_dir(at(dir)).unwrap();
    }
    std::fs::write(at("dir/file"), "content").unwrap();
    std::fs::write(at("dir/setuid"), "program").unwrap();
    std::fs::write(at("shut/nothing"), "").unwrap();
    std::fs::hard_link(at("dir/file"), at("setgid/same")).unwrap();
    std::fs::hard_link(at("dir/file"), at("dir/sub/same")).unwrap();
    link_to("../../outside", at("dir/link")).unwrap();
    link_to("x".repeat(300), at("dir/long")).unwrap();
    std::fs::write(at(&format!("dir/sub/{}", "n".repeat(200))), "long").unwrap();
    std::fs::write(at(&format!("dir/sub/new\nline {}", "n".repeat(180))), "line").unwrap();
    std::fs::write(temporary.path().join(OsStr::from_bytes(b"dir/not utf-8 \xff")), "bytes").unwrap();
    nix::unistd::mkfifo(&at("dir/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let sparse = std::fs::File::create(at("dir/sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    for offset in [0, 1 << 20, 5 << 20] {
        sparse.write_all_at(&[7; 5000], offset).unwrap();
    }
    if nix::unistd::geteuid().is_root() {
        chown(at("dir/setuid"), Some(1234), Some(4321)).unwrap();
        chown(at("setgid"), Some(1), Some(4321)).unwrap();
        lchown(at("dir/link"), Some(1234), Some(4321)).unwrap();
        chown(at("dir/sub"), Some(3_000_000), Some(3_000_000)).unwrap();
    }
    for (path, mode) in [
        ("dir/setuid", 0o6755),
        ("setgid", 0o2770),
        ("dir/sub", 0o1777),
        ("shut/nothing", 0),
        ("shut", 0o500),
    ] {
        std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // From the inside to the outside, because setting a time changes that of the parent directory.
    for (path, seconds) in [
        ("dir/file", 1),
        ("dir/setuid", -90_000),
        ("dir/sub", 1000),
        ("dir", 2000),
        ("shut", 3000),
        ("setgid", 4000),
        ("", 5000),
    ] {
        let times = nix::sys::time::TimeSpec::new(seconds, 0);
        nix::sys::stat::utimensat(
            nix::fcntl::AT_FDCWD,
            &at(path),
            &times,
            &times,
            nix::sys::stat::UtimensatFlags::NoFollowSymlink,
        )
        .unwrap();
    }
    temporary
}

/// All facts of a tree that an archive preserves.
fn facts(top: &Path, nanoseconds: bool) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut paths = vec![top.to_owned()];
    while let Some(path) = paths.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_file() {
            let mut hasher = DefaultHasher::new();
            std::fs::read(&path).unwrap().hash(&mut hasher);
            hasher.finish().to_string()
        } else if metadata.is_symlink() {
            format!("{:?}", path.read_link().unwrap())
        } else {
            String::new()
        };
        if metadata.is_dir() {
            let mut below: Vec<_> = path.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
            below.sort();
            paths.extend(below);
        }
        let relative = path.strip_prefix(top).unwrap().to_owned();
        let same = first_names.entry(metadata.ino()).or_insert_with(|| relative.clone()).clone();
        let mtime = (metadata.mtime(), if nanoseconds { metadata.mtime_nsec() } else { 0 });
        let facts = (
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            mtime,
            metadata.is_dir() || same == relative,
            same,
        );
        all.insert(relative, format!("{facts:?} {content}"));
    }
    all
}

fn pack(tree: &Path, arguments: &[&str]) -> tempfile::NamedTempFile {
    let archive = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("tar")
        .arg("-C")
        .arg(tree)
        .args(arguments)
        .arg("-f")
        .arg(archive.path())
        .arg(".")
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    archive
}

fn unpack_file(archive: &Path, compression: Compression) -> (Setup, Summary) {
    let setup = Setup::new();
    let dir = Dir::open(archive.parent().unwrap()).unwrap();
    let archive = Archive::open(&dir, archive.file_name().unwrap(), compression).unwrap().unwrap();
    let progress = Progress::default();
    let summary = archive.unpack(&Dir::open(&setup.out()).unwrap(), None, &progress).unwrap();
    assert_eq!(progress.bytes(), summary.bytes);
    assert_eq!(progress.files(), summary.files + summary.others + summary.skipped);
    (setup, summary)
}

#[test]
fn a_tree_packed_by_tar_is_restored_exactly() {
    let tree = tree();
    for (arguments, compression, nanoseconds) in [
        // As csi-driver-nfs calls tar.
        (&["-cz"][..], Compression::Gzip, false),
        (&["-c"], Compression::None, false),
        (&["-c", "--format=posix"], Compression::None, true),
        (&["-cS"], Compression::None, false),
        (&["-cS", "--format=posix", "--sparse-version=1.0"], Compression::None, true),
        (&["-cS", "--format=posix", "--sparse-version=0.1"], Compression::None, true),
        (&["-cS", "--format=posix", "--sparse-version=0.0"], Compression::None, true),
    ] {
        let archive = pack(tree.path(), arguments);
        let (setup, summary) = unpack_file(archive.path(), compression);
        assert_eq!(facts(&setup.out(), nanoseconds), facts(tree.path(), nanoseconds), "{arguments:?}");
        assert_eq!((summary.directories, summary.files, summary.others, summary.skipped), (6, 9, 3, 0));
        assert!(summary.bytes < 1 << 20, "{summary:?}");
        let blocks = setup.path("dir/sparse").metadata().unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "the holes take up {blocks} blocks");
    }
}

#[test]
fn directories_keep_their_times_in_any_order_of_members() {
    let members = [
        file("a/b/1", "x"),
        dir("a"),
        dir("a/b"),
        file("c", "x"),
        dir("."),
        file("a/b/2", "x"),
        hard_link("a/3", "c"),
    ];
    let setup = Setup::new();
    setup.unpack(&archive(&members)).unwrap();
    for path in ["", "a", "a/b"] {
        assert_eq!(setup.path(path).metadata().unwrap().mtime(), 0o1750, "{path:?}");
    }
    assert_eq!(setup.path("a").metadata().unwrap().mode() & 0o7777, 0o750);
}

/// Go's archive/tar as csi-driver-nfs uses it: FileInfoHeader in the order of filepath.Walk, paths relative, no `./`.
/// Its files are `.` (mode 02775), `a-dir/` (0750) with `file` ("hello\n", 04755, 1000:1001), a link to it, a FIFO, a
/// name of 160 bytes with a line feed and one of 120 characters beyond ASCII.
#[test]
fn a_tree_packed_by_go_is_restored_exactly() {
    let setup = Setup::new();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&include_bytes!("go.tar.gz")[..]).read_to_end(&mut plain).unwrap();
    let summary = setup.unpack(&plain).unwrap();
    assert_eq!(summary, Summary { files: 3, directories: 2, others: 2, bytes: 6 + 2 * 4, skipped: 0 });
    assert_eq!(setup.read("a-dir/file"), "hello\n");
    let mode = |path: &str| setup.path(path).symlink_metadata().unwrap().mode();
    assert_eq!(
        [mode(""), mode("a-dir"), mode("a-dir/file")].map(|mode| mode & 0o7777),
        [0o2775, 0o750, 0o4755]
    );
    let file = setup.path("a-dir/file").metadata().unwrap();
    assert_eq!((file.uid(), file.gid(), file.mtime()), (1000, 1001, 1_700_000_000));
    assert_eq!(setup.path("").metadata().unwrap().mtime(), 1_700_000_001);
    assert_eq!(setup.path("a-dir").metadata().unwrap().mtime(), 1_700_000_002);
    assert_eq!(setup.path("link").read_link().unwrap(), Path::new("a-dir/file"));
    assert_eq!(mode("a-dir/pipe") & 0o170_000, 0o010_000);
    assert_eq!(setup.read(&format!("a-dir/new\nline{}", "n".repeat(152))), "line");
    assert_eq!(setup.read(&"ü".repeat(120)), "wide");
}

#[test]
fn the_size_in_an_extended_header_takes_precedence() {
    // Files of 8 GiB and more are stored in this way, because the field of an ordinary header is too small.
    let content = "x".repeat(3000);
    let big = [pax("size", b"3000"), header(b'0', b"big", b"", 0), padded(content.as_bytes())].concat();
    let setup = Setup::new();
    setup.unpack(&archive(&[big, file("next", "y")])).unwrap();
    assert_eq!((setup.read("big"), setup.read("next")), (content, "y".to_owned()));
}
