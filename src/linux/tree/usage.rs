//! Counting what a directory tree contains.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::copy::Progress;
use super::remove::Pace;
use super::visit::{Seen, visit_tree};
use crate::linux::dir::Dir;
use crate::linux::dir::metadata::{Freshness, Metadata};
use crate::linux::error::{Result, SysError};
use crate::linux::raw::FileKind;

/// After so many entries the caller is told how far the count is.
const BATCH: u64 = 100;
/// How many inodes with several names are remembered, so that each is counted once. More are counted once for each name.
const MOST_LINKED: usize = 100_000;

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Directories, the top included.
    pub directories: u64,
    /// Everything else.
    pub files: u64,
    /// Bytes that are allocated on the server, as it says.
    pub allocated_bytes: u64,
    /// Bytes of content of files.
    pub content_bytes: u64,
    /// Entries on other file systems, which are not counted.
    pub left_out: u64,
}

/// Counts a tree, at most `rate` entries in a second. Does not follow links. An entry that disappears meanwhile is left out. `seen` is
/// called now and then. NFS requests: see [`visit_tree`].
pub fn count(top: &Dir, rate: u32, seen: &(dyn Fn(&Counted) + Sync)) -> Result<Counted> {
    let own =
        Metadata::of(top, Freshness::Cached).map_err(|errno| SysError::new("stat", top.label(), errno))?;
    let first = Counted { directories: 1, allocated_bytes: own.allocated, ..Counted::default() };
    let state = Mutex::new((first, HashSet::new()));
    let pace = Pace::new(Some(rate));
    visit_tree(top, "count", &Progress::default(), &|entry, metadata| {
        pace.wait();
        let (counted, linked) = &mut *state.lock();
        if metadata.device != own.device {
            counted.left_out += 1;
            return Ok(());
        }
        let is_directory = matches!(entry, Seen::Directory(_));
        let is_again = !is_directory
            && metadata.links > 1
            && linked.len() < MOST_LINKED
            && !linked.insert(metadata.inode);
        if !is_again {
            counted.allocated_bytes += metadata.allocated;
            counted.content_bytes += if metadata.kind == FileKind::File { metadata.size } else { 0 };
        }
        counted.directories += u64::from(is_directory);
        counted.files += u64::from(!is_directory);
        if (counted.directories + counted.files).is_multiple_of(BATCH) {
            seen(counted);
        }
        Ok(())
    })?;
    Ok(state.into_inner().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_once_and_links_are_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temporary.path().join("a/b")).unwrap();
        std::fs::write(temporary.path().join("a/file"), [7; 1000]).unwrap();
        std::fs::hard_link(temporary.path().join("a/file"), temporary.path().join("a/b/same")).unwrap();
        std::os::unix::fs::symlink("/usr", temporary.path().join("link")).unwrap();
        let counted = count(&Dir::open(temporary.path()).unwrap(), 1_000_000, &|_| ()).unwrap();
        assert_eq!((counted.directories, counted.files, counted.content_bytes), (3, 3, 1000));
        assert_eq!(counted.left_out, 0);
    }

    #[test]
    fn the_rate_is_kept() {
        let temporary = tempfile::tempdir().unwrap();
        (0..300).for_each(|number| std::fs::write(temporary.path().join(number.to_string()), "").unwrap());
        let begun = std::time::Instant::now();
        count(&Dir::open(temporary.path()).unwrap(), 1000, &|_| ()).unwrap();
        assert!(begun.elapsed() >= std::time::Duration::from_millis(250), "{:?}", begun.elapsed());
    }
}
