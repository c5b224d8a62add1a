//! Counting what a directory tree contains.

use std::collections::HashSet;
use std::ffi::OsString;
use std::time::Duration;

use nix::errno::Errno;

use crate::linux::dir::Dir;
use crate::linux::dir::metadata::{Freshness, Metadata};
use crate::linux::error::{Result, SysError};
use crate::linux::raw::FileKind;

/// The deepest nesting of directories. Each level needs an open handle.
const DEEPEST: usize = 256;
/// After so many entries, the count pauses so that it keeps its rate.
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
    /// Directories that could not be read: they are on another file system, or too deep.
    pub left_out: u64,
}

struct Count<'a> {
    counted: Counted,
    linked: HashSet<u64>,
    device: (u32, u32),
    pause: Duration,
    seen: &'a dyn Fn(&Counted),
}

/// Counts a tree, at most `rate` entries in a second. Does not follow links and does not enter other file systems. An entry that
/// disappears meanwhile is left out.
pub fn count(top: &Dir, rate: u32, seen: &dyn Fn(&Counted)) -> Result<Counted> {
    let own =
        Metadata::of(top, Freshness::Cached).map_err(|errno| SysError::new("stat", top.label(), errno))?;
    let pause = Duration::from_secs(1) * u32::try_from(BATCH).unwrap_or(1) / rate.max(1);
    let counted = Counted { directories: 1, allocated_bytes: own.allocated, ..Counted::default() };
    let mut count = Count { counted, linked: HashSet::new(), device: own.device, pause, seen };
    count.directory(top, 0)?;
    Ok(count.counted)
}

impl Count<'_> {
    fn directory(&mut self, dir: &Dir, depth: usize) -> Result<()> {
        let mut inner: Vec<OsString> = Vec::new();
        let mut names: Vec<OsString> = Vec::new();
        dir.for_each_entry(|entry| names.push(entry.name))?;
        for name in names {
            let metadata = match Metadata::of_entry(dir, &name, Freshness::Cached) {
                Err(Errno::ENOENT | Errno::ESTALE) => continue,
                read => read.map_err(|errno| dir.error("stat", &name, errno))?,
            };
            self.entry(&metadata);
            if metadata.kind == FileKind::Directory {
                if metadata.device == self.device && depth < DEEPEST {
                    inner.push(name);
                } else {
                    self.counted.left_out += 1;
                }
            }
        }
        for name in inner {
            match dir.open_dir(&name) {
                // Somebody has removed it, or put something else into its place.
                Err(error) if error.is_not_found() || error.is_unsafe_path() => {}
                opened => self.directory(&opened?, depth + 1)?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, metadata: &Metadata) {
        let is_directory = metadata.kind == FileKind::Directory;
        let is_again = !is_directory
            && metadata.links > 1
            && self.linked.len() < MOST_LINKED
            && !self.linked.insert(metadata.inode);
        if !is_again {
            self.counted.allocated_bytes += metadata.allocated;
            self.counted.content_bytes += if metadata.kind == FileKind::File { metadata.size } else { 0 };
        }
        self.counted.directories += u64::from(is_directory);
        self.counted.files += u64::from(!is_directory);
        if (self.counted.directories + self.counted.files).is_multiple_of(BATCH) {
            (self.seen)(&self.counted);
            std::thread::sleep(self.pause);
        }
    }
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
        assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    }
}
