//! Archives that are damaged or malicious.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use super::super::{Archive, Compression};
use super::*;

#[test]
fn paths_that_lead_out_are_refused() {
    for name in ["../x", "a/../../x", "/x", "//x", "..", "a/..", "../out2/x", "./../out2/canary"] {
        let setup = Setup::new();
        for member in
            [file(name, "bad"), dir(name), symlink(name, "x"), header(b'6', name.as_bytes(), b"", 0)]
        {
            setup.refused(&archive(&[member]));
        }
        setup.refused(&archive(&[pax("path", name.as_bytes()), file("good", "bad")]));
        setup.refused(&archive(&[file("good", ""), hard_link("link", name)]));
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let absolute = |setup: &Setup| setup.temporary.path().join("out2").display().to_string();
    for make in [|_: &Setup| "../out2".to_owned(), absolute] {
        let setup = Setup::new();
        let link = symlink("a", &make(&setup));
        for member in [file("a/x", "bad"), file("a/canary", "bad"), dir("a/x"), hard_link("a/x", "b")] {
            let reason = setup.refused(&archive(&[file("b", ""), link.clone(), member]));
            assert!(reason.ends_with("leads through something that is not a directory"), "{reason}");
        }
    }
}

#[test]
fn a_member_with_the_name_of_a_link_replaces_the_link() {
    let setup = Setup::new();
    setup.unpack(&archive(&[symlink("a", "../canary"), file("a", "new")])).unwrap();
    assert_eq!(setup.read("a"), "new");
    setup.unpack(&archive(&[symlink("d", "../out2"), dir("d"), file("d/x", "new")])).unwrap();
    assert_eq!(setup.path("d").metadata().unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(setup.read("d/x"), "new");
    setup.unpack(&archive(&[symlink("l", "../canary"), hard_link("h", "l"), file("h", "new")])).unwrap();
    assert_eq!(setup.read("h"), "new");
    assert!(setup.path("l").is_symlink());
}

#[test]
fn a_later_file_replaces_an_earlier_one_and_not_its_other_names() {
    let setup = Setup::new();
    let members = [
        file("a", "old"),
        hard_link("b", "a"),
        file("./a", "new"),
        hard_link("c", "./a"),
        hard_link("c", "b"),
    ];
    setup.unpack(&archive(&members)).unwrap();
    assert_eq!(
        (setup.read("a"), setup.read("b"), setup.read("c")),
        ("new".into(), "old".into(), "old".into())
    );
}

#[test]
fn nothing_replaces_a_directory() {
    for member in [file("d", "x"), symlink("d", "../out2"), hard_link("d", "f"), header(b'6', b"d", b"", 0)] {
        let setup = Setup::new();
        let reason = setup.refused(&archive(&[file("f", ""), dir("d"), file("d/x", "kept"), member]));
        assert!(reason.ends_with("would replace a directory"), "{reason}");
        assert_eq!(setup.read("d/x"), "kept");
    }
    for name in [".", "./", "a/", ""] {
        Setup::new().refused(&archive(&[file(name, "x")]));
    }
}

#[test]
fn a_hard_link_must_lead_to_an_earlier_file_of_the_archive() {
    let setup = Setup::new();
    let outside = setup.temporary.path().join("canary").display().to_string();
    for target in [&outside, "../canary", "absent", "d", "s/canary", "self", ".", "f/x"] {
        let members = [dir("d"), file("f", ""), symlink("s", "../out2"), hard_link("self", target)];
        setup.refused(&archive(&members));
    }
}

#[test]
fn a_file_cannot_serve_as_a_directory() {
    let setup = Setup::new();
    setup.refused(&archive(&[file("a", "x"), file("a/b", "x")]));
    setup.refused(&archive(&[header(b'6', b"p", b"", 0), file("p/b", "x")]));
}

#[test]
fn an_archive_truncated_anywhere_is_refused() {
    let whole = archive(&[dir("."), file("a", "content"), pax("mtime", b"5.5"), file("b", "")]);
    let setup = Setup::new();
    for length in (0..whole.len()).filter(|length| length % 64 == 0 || matches!(length % 512, 1 | 511)) {
        let reason = setup.refused(&whole[..length]);
        assert!(reason.contains("cut off"), "{length}: {reason}");
    }
    Setup::new().unpack(&whole).unwrap();
    let compressed = gzip(&whole);
    for length in 0..compressed.len() {
        assert!(unpack_gzip(&compressed[..length]).is_err(), "{length}");
    }
    unpack_gzip(&compressed).unwrap();
}

#[test]
fn only_zeros_may_follow_the_end() {
    let whole = archive(&[file("a", "content")]);
    Setup::new().unpack(&[whole.clone(), vec![0; 9000]].concat()).unwrap();
    for end in [vec![1], [vec![0; 400_000], vec![1]].concat(), whole.clone()] {
        Setup::new().refused(&[whole.clone(), end].concat());
    }
    let compressed = gzip(&whole);
    assert!(matches!(
        unpack_gzip(&[&compressed[..], b"garbage"].concat()),
        Err(UnpackError::Malformed { .. })
    ));
    // The checksum comes last.
    let mut damaged = compressed.clone();
    let at = damaged.len() - 8;
    damaged[at] ^= 1;
    assert!(matches!(unpack_gzip(&damaged), Err(UnpackError::Malformed { .. })));
    let (first, second) = whole.split_at(700);
    unpack_gzip(&[gzip(first), gzip(second)].concat()).unwrap();
}

fn unpack_gzip(content: &[u8]) -> Result<Summary, UnpackError> {
    let setup = Setup::new();
    std::fs::write(setup.temporary.path().join("x.tar.gz"), content).unwrap();
    let from = Dir::open(setup.temporary.path()).unwrap();
    let archive = Archive::open(&from, "x.tar.gz", Compression::Gzip).unwrap().unwrap();
    assert_eq!(archive.size(), content.len() as u64);
    archive.unpack(&Dir::open(&setup.out()).unwrap(), None, &Progress::default())
}

#[test]
fn only_a_regular_file_is_an_archive() {
    let setup = Setup::new();
    let dir = Dir::open(setup.temporary.path()).unwrap();
    nix::unistd::mkfifo(&setup.temporary.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("canary", setup.temporary.path().join("link")).unwrap();
    for name in ["fifo", "out", "absent"] {
        assert!(Archive::open(&dir, name, Compression::None).unwrap().is_none(), "{name}");
    }
    assert!(Archive::open(&dir, "link", Compression::None).unwrap_err().is_unsafe_path());
}

#[test]
fn false_sizes_cost_no_memory() {
    let setup = Setup::new();
    for size in [1 << 20, 1 << 40, i64::MAX as u64, u64::MAX - 600, u64::MAX] {
        for kind in [b'0', b'2', b'5', b'L', b'K', b'x', b'g', b'S'] {
            setup.refused(&[header(kind, b"a", b"b", size), vec![b'x'; 4096]].concat());
        }
        let number = size.to_string();
        setup.refused(&[pax("size", number.as_bytes()), file("a", "x"), vec![b'x'; 4096]].concat());
    }
    // Endless names: a compressed archive can have them in a few bytes.
    let endless = || std::io::repeat(b'x').take(1 << 40);
    let into = Dir::open(&setup.out()).unwrap();
    for kind in [b'L', b'x'] {
        let head = header(kind, b"a", b"", 1 << 40);
        let result = unpack(head.chain(endless()), "x", &into, None, &Progress::default());
        assert!(matches!(result, Err(UnpackError::Malformed { .. })), "{result:?}");
    }
}

#[test]
fn maps_of_holes_that_do_not_match_are_refused() {
    let sparse = |map: &[(u64, u64)], real: u64, extended: u8| {
        let mut block = header(b'S', b"a", b"", 512);
        block[257..265].copy_from_slice(b"ustar  \0");
        for (index, (offset, length)) in map.iter().enumerate() {
            let at = 386 + 24 * index;
            block[at..at + 24].copy_from_slice(format!("{offset:011o}\0{length:011o}\0").as_bytes());
        }
        block[482] = extended;
        block[483..495].copy_from_slice(&[&[0x80, 0, 0, 0][..], &real.to_be_bytes()].concat());
        seal(&mut block);
        block
    };
    let content = vec![b'x'; 512];
    let setup = Setup::new();
    setup.unpack(&archive(&[sparse(&[(4096, 512)], 8192, 0), content.clone()])).unwrap();
    assert_eq!(setup.path("a").metadata().unwrap().len(), 8192);
    for (map, real) in [(&[(4096, 512)][..], 4096), (&[(0, 300), (200, 212)], 4096), (&[(0, 100)], 4096)] {
        setup.refused(&archive(&[sparse(map, real, 0), content.clone()]));
    }
    // A file of 8 EiB: the file system may refuse it, but its zeros are not written.
    let _ = setup.unpack(&archive(&[sparse(&[(0, 512)], i64::MAX as u64, 0), content.clone()]));
    // A map that never ends.
    let mut more = vec![0; 512];
    more[504] = 1;
    setup.refused(&[sparse(&[(0, 512)], 512, 1), more.repeat(8192)].concat());
}

#[test]
fn unusual_headers_are_refused() {
    let setup = Setup::new();
    let chain = (0..10).map(|_| pax("comment", b"x")).collect::<Vec<_>>().concat();
    setup.refused(&archive(&[chain, file("a", "")]));
    setup.refused(&archive(&[pax("path", b"a\0b"), file("a", "")]));
    setup.refused(&archive(&[pax("mtime", b"yesterday"), file("a", "")]));
    setup.refused(&archive(&[pax("uid", b"4294967295"), file("a", "")]));
    setup.refused(&archive(&[pax("uid", b"-1"), file("a", "")]));
    setup.refused(&archive(&[pax("path", b"a")]));
    for kind in *b"gVDMN9" {
        setup.refused(&archive(&[header(kind, b"a", b"", 0)]));
    }
    let mut damaged = file("a", "");
    damaged[0] = b'b';
    setup.refused(&archive(&[damaged]));
}

#[test]
fn too_many_levels_are_refused() {
    let deep = |levels: usize| {
        let path = vec!["d"; levels].join("/");
        archive(&[pax("path", path.as_bytes()), dir("d")])
    };
    let setup = Setup::new();
    setup.unpack(&deep(512)).unwrap();
    let reason = Setup::new().refused(&deep(513));
    assert!(reason.contains("512 directories deep"), "{reason}");
}

#[test]
fn device_nodes_are_left_out_and_counted() {
    let setup = Setup::new();
    let summary = setup.unpack(&archive(&[
        header(b'3', b"null", b"", 0),
        header(b'4', b"disk", b"", 0),
        file("a", ""),
    ]));
    assert_eq!(summary.unwrap(), Summary { files: 1, skipped: 2, ..Summary::default() });
    assert_eq!(setup.out().read_dir().unwrap().count(), 1);
}

#[test]
fn content_over_the_limit_is_not_written() {
    let members = archive(&[file("a", "12345"), file("b", "12345")]);
    Setup::new().unpack_with(&members, Some(10), &Progress::default()).unwrap();
    let setup = Setup::new();
    let result = setup.unpack_with(&members, Some(9), &Progress::default());
    assert!(matches!(result, Err(UnpackError::TooLarge { limit: 9, .. })), "{result:?}");
}

#[test]
fn unpacking_can_be_cancelled() {
    let progress = Progress::default();
    progress.cancel();
    let result = Setup::new().unpack_with(&archive(&[file("a", "")]), None, &progress);
    assert!(matches!(result, Err(UnpackError::Cancelled)), "{result:?}");
}

#[test]
fn a_failed_system_call_is_not_reported_as_a_bad_archive_and_its_path_is_safe_to_show() {
    let setup = Setup::new();
    let long = "x".repeat(256);
    let result = setup.unpack(&archive(&[pax("path", format!("\x1b[31m/{long}").as_bytes()), file("a", "")]));
    let Err(UnpackError::Sys(error)) = result else { panic!("{result:?}") };
    assert!(error.path.contains("out/\\u{1b}[31m/xxx"), "{error}");
    assert_eq!(error.errno(), Some(nix::errno::Errno::ENAMETOOLONG));
    let reason = setup.refused(&archive(&[file("\x1b[31m\n/../x", "")]));
    assert!(!reason.contains(char::is_control), "{reason:?}");
    // A directory cannot be read as a file.
    let unreadable = File::open(setup.out()).unwrap();
    let result = unpack(unreadable, "x.tar", &Dir::open(&setup.out()).unwrap(), None, &Progress::default());
    assert!(matches!(result, Err(UnpackError::Sys(_))), "{result:?}");
}
