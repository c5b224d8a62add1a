//! The copy of a tree that does not change equals the original.

use super::*;

/// Creates one entry of every kind.
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
    raw::fsetxattr(open(&stage.from("a/file")), c"user.name", b"value\0\xff").unwrap();
    raw::fsetxattr(open(&stage.from("a/b")), c"user.empty", b"").unwrap();
    symlink("nowhere", stage.from("dangling")).unwrap();
    symlink("/etc", stage.from("a/absolute")).unwrap();
    for (name, kind) in [("fifo", SFlag::S_IFIFO), ("socket", SFlag::S_IFSOCK)] {
        mknodat(AT_FDCWD, &stage.from(name), kind, Mode::from_bits_truncate(0o640), 0).unwrap();
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
    for support in [Support::same_export(), Support::without_clone(), Support::across()] {
        let stage = Stage::with(support);
        furnish(&stage);
        let summary = stage.copy_and_compare();
        assert_eq!((summary.directories, summary.files, summary.others), (4, 7, 4));
        assert_eq!((summary.vanished, summary.skipped), (0, 0));
        assert_eq!(stage.progress.files(), 11);
        assert!(fs::symlink_metadata(stage.to("socket")).unwrap().file_type().is_socket());
        let of = |name| fs::metadata(stage.to(name)).unwrap();
        assert_eq!(of("a/file").ino(), of("same file").ino());
        // `links` contains only the fourth name: no new entry was mistaken for an older state.
        assert_eq!(fs::read_dir(stage.temporary.path().join("links")).unwrap().count(), 1);
        assert_eq!(of("a/file").nlink(), 4);
        set_mode(&stage.to("a"), 0o755);
        set_mode(&stage.from("a"), 0o755);
    }
}

#[test]
fn access_times_are_kept() {
    let stage = Stage::new();
    fs::write(stage.from("file"), "x").unwrap();
    make_old(&stage.from("file"), 5);
    stage.copy().unwrap();
    let stat = fs::metadata(stage.to("file")).unwrap();
    assert_eq!((stat.atime(), stat.atime_nsec()), (5, 123_456_789));
}

#[test]
fn a_large_and_deep_tree_is_complete() {
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
