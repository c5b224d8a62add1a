//! Copies that fail, are cancelled, or leave entries out.

use super::*;

#[test]
fn a_tree_nested_too_deeply_is_refused_without_overflowing_the_stack() {
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
fn a_removed_source_does_not_become_an_empty_copy() {
    let stage = Stage::new();
    let from = Dir::open(&stage.from("")).unwrap();
    let (to, links) =
        (Dir::open(&stage.to("")).unwrap(), Dir::open(&stage.temporary.path().join("links")).unwrap());
    fs::remove_dir(stage.from("")).unwrap();
    let request = CopyRequest {
        from: &from,
        to: &to,
        links: &links,
        support: &stage.support,
        devices: DeviceNodes::Copy,
        progress: &stage.progress,
    };
    assert!(matches!(copy_tree(&request), Err(CopyError::Failed(_))));
}

#[test]
fn device_nodes_are_left_out_and_counted() {
    let stage = Stage::new();
    let made = mknodat(
        AT_FDCWD,
        &stage.from("null"),
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o600),
        makedev(1, 3),
    );
    if !is_root() || made.is_err() {
        return;
    }
    assert_eq!(stage.copy().unwrap().skipped, 1);
    assert!(!stage.to("null").exists());
}
