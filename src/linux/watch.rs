//! Noticing changes in a directory of a local file system (inotify(7)), those of the NFS server of this machine included.

use std::ffi::OsString;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::linux::dir::Dir;
use crate::linux::error::{Result, SysError};

/// A directory whose changes are noticed.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    label: String,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The entry with this name was created, written, renamed or removed, or got other attributes.
    Entry(OsString),
    /// So many changes happened that some were lost.
    Lost,
    /// The directory itself was moved or removed. Nothing more will be noticed.
    Gone,
}

impl Watch {
    /// Begins to watch a directory.
    pub fn of(dir: &Dir) -> Result<Self> {
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let failed = |errno| dir.error("watch", ".", errno);
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).map_err(failed)?;
        inotify.add_watch(&dir.proc_path(), events).map_err(failed)?;
        Ok(Self { inotify, label: dir.label() })
    }

    /// Waits until something has changed. Returns all changes since the last call, unless there are many.
    pub fn wait(&self) -> Result<Vec<Change>> {
        let events = loop {
            match self.inotify.read_events() {
                Err(Errno::EINTR) => {}
                read => break read.map_err(|errno| SysError::new("watch", self.label.clone(), errno))?,
            }
        };
        let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
        Ok(events
            .into_iter()
            .filter_map(|event| match event.name {
                _ if event.mask.intersects(gone) => Some(Change::Gone),
                _ if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => Some(Change::Lost),
                name => name.map(Change::Entry),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_linked_written_or_removed_is_noticed_and_so_is_the_end_of_the_directory() {
        let (temporary, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = temporary.path().join("watched");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(other.path().join("draft"), "1").unwrap();
        let watch = Watch::of(&Dir::open(&path).unwrap()).unwrap();
        let noticed = |name: &str| {
            let changes = watch.wait().unwrap();
            assert!(changes.iter().all(|change| *change == Change::Entry(name.into())), "{changes:?}");
        };
        if std::fs::hard_link(other.path().join("draft"), path.join("one")).is_ok() {
            noticed("one");
        }
        std::fs::write(path.join("two"), "2").unwrap();
        noticed("two");
        std::fs::remove_file(path.join("two")).unwrap();
        noticed("two");
        std::fs::rename(&path, temporary.path().join("moved")).unwrap();
        assert_eq!(watch.wait().unwrap(), [Change::Gone]);
    }
}
