//! Trees that change during the copy.

use super::*;

#[test]
fn an_older_state_of_an_entry_in_the_copy_is_replaced() {
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

/// Meanwhile a thread creates, truncates, renames and removes entries, and replaces directories by links to a secret.
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
