//! Removing a directory tree by directory handles.

use std::ffi::{OsStr, OsString};

use super::{Dir, Result, SysError};

/// Entries read at a time: bounded memory for a directory of any size.
const BATCH: usize = 4096;
/// Levels entered from one starting point. A directory deeper down is moved up first, so that a tree of any
/// depth needs a bounded number of open handles.
const DEPTH: usize = 32;

/// Removes the entry `name` of `parent` with everything in it. Links are removed, never followed. What cannot
/// be removed stays, the rest goes; every failure is returned.
///
/// NFS requests: a READDIR for a few hundred entries, then one REMOVE each (and a LOOKUP, where reading the
/// directory did not fill the client's cache).
pub fn remove_tree(parent: &Dir, name: &OsStr) -> Result<(), Vec<SysError>> {
    let mut removal = Removal { parent, waiting: vec![name.to_owned()], moved: 0, failures: Vec::new() };
    while let Some(name) = removal.waiting.pop() {
        removal.remove(parent, &name, 0);
    }
    if removal.failures.is_empty() { Ok(()) } else { Err(removal.failures) }
}

struct Removal<'a> {
    parent: &'a Dir,
    /// Names in `parent` that are still to be removed.
    waiting: Vec<OsString>,
    moved: usize,
    failures: Vec<SysError>,
}

impl Removal<'_> {
    fn remove(&mut self, dir: &Dir, name: &OsStr, depth: usize) {
        let removed = match dir.open_dir(name) {
            Ok(inner) => {
                self.empty(&inner, depth);
                dir.remove_dir(name)
            }
            Err(error) if error.is_unsafe_path() => dir.remove_file(name),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if !error.is_not_found() => self.failures.push(error),
            _ => {}
        }
    }

    /// Removes everything in `dir`, batch after batch until a batch makes no progress.
    fn empty(&mut self, dir: &Dir, depth: usize) {
        loop {
            let failures_before = self.failures.len();
            let entries = match dir.entries(BATCH) {
                Ok(entries) => entries,
                Err(error) => return self.failures.push(error),
            };
            let count = entries.len();
            for entry in entries {
                if entry.is_dir == Some(false) {
                    match dir.remove_file(&entry.name) {
                        Err(error) if !error.is_not_found() => self.failures.push(error),
                        _ => {}
                    }
                } else if depth < DEPTH {
                    self.remove(dir, &entry.name, depth + 1);
                } else {
                    self.move_up(dir, &entry.name);
                }
            }
            if count < BATCH || self.failures.len() > failures_before {
                return;
            }
        }
    }

    fn move_up(&mut self, dir: &Dir, name: &OsStr) {
        self.moved += 1;
        let up = OsString::from(format!("deep-{:x}-{}", super::unique(), self.moved));
        match dir.rename(name, self.parent, &up) {
            Ok(()) => self.waiting.push(up),
            Err(error) => self.failures.push(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_deep_and_wide_tree_goes_and_what_links_point_to_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let outside = temporary.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("canary"), "alive").unwrap();
        let mut place = temporary.path().join("trash/tree");
        for _ in 0..3 * DEPTH {
            std::fs::create_dir_all(&place).unwrap();
            symlink(&outside, place.join("link")).unwrap();
            std::fs::write(place.join("file"), "x").unwrap();
            place.push("d");
        }
        for number in 0..BATCH + 10 {
            std::fs::write(temporary.path().join("trash/tree").join(number.to_string()), "").unwrap();
        }
        let trash = Dir::open(&temporary.path().join("trash")).unwrap();
        remove_tree(&trash, OsStr::new("tree")).unwrap();
        assert!(trash.entries(10).unwrap().is_empty());
        assert_eq!(std::fs::read_to_string(outside.join("canary")).unwrap(), "alive");
    }

    #[test]
    fn a_link_in_the_place_of_the_tree_is_removed_itself() {
        let temporary = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("canary"), "").unwrap();
        symlink(outside.path(), temporary.path().join("tree")).unwrap();
        remove_tree(&Dir::open(temporary.path()).unwrap(), OsStr::new("tree")).unwrap();
        assert!(outside.path().join("canary").exists());
        assert!(!temporary.path().join("tree").is_symlink());
    }
}
