//! The directory in which an export is tried. It is removed at the end, and what an earlier run has left, too.

use std::ffi::OsStr;
use std::time::Duration;

use super::line::{Line, begin, report};
use super::storage;
use crate::linux::remove::{Pace, remove_tree};
use crate::linux::{Dir, Metadata, SysError, unique_text};

/// What the names of these directories begin with.
const PREFIX: &str = ".nfs-subdir-csi-doctor.";
/// A run takes less than this, so an older directory belongs to a run that was given up.
const OLD: i64 = 900;
/// How many entries of the share are looked at for such directories.
const LOOKED_AT: usize = 10_000;
const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Scratch {
    share: Dir,
    name: String,
    pub(super) dir: Dir,
}

impl Scratch {
    /// Makes a new directory at the top of the share. `None` if that is not possible; why has been said.
    pub(super) fn make(share: &Dir) -> Option<Self> {
        begin("write", LIMIT);
        let name = format!("{PREFIX}{}", unique_text());
        let made = share.make_dir(&name, 0o700).and_then(|()| {
            let share = share.open_place(".")?.with_label(share.label());
            Ok(Self { dir: share.open_dir(&name)?, share, name })
        });
        match made {
            Ok(scratch) => {
                scratch.remove_old();
                Some(scratch)
            }
            Err(error) => {
                report(storage::refused(&error));
                None
            }
        }
    }

    /// Removes the directories that runs have left which were given up. Its own is new, so the clock of the server tells how old they are.
    fn remove_old(&self) {
        let Ok(own) = self.dir.fresh() else { return };
        for entry in self.share.open_dir(".").and_then(|top| top.entries(LOOKED_AT)).unwrap_or_default() {
            let is_one =
                entry.name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name != self.name);
            let is_old = || match self.share.entry(&entry.name) {
                Ok(Some(other)) => other.attributes.mtime.seconds + OLD < own.attributes.mtime.seconds,
                _ => false,
            };
            if is_one && is_old() {
                let _ = remove_tree(&self.share, &entry.name, &Pace::new(None));
            }
        }
    }

    /// Removes the directory. Says so if that is not possible.
    pub(super) fn remove(self) {
        const CHECK: &str = "remove";
        begin(CHECK, LIMIT);
        let removed = remove_tree(&self.share, OsStr::new(&self.name), &Pace::new(None));
        report(match removed {
            Ok(()) => Line::ok(CHECK, "everything that was made for this is removed again"),
            Err(errors) => {
                let reasons: Vec<String> = errors.iter().map(SysError::to_string).collect();
                let advice = format!("remove the directory {} at the top of the share by hand", self.name);
                Line::fail(CHECK, reasons.join("; "), advice)
            }
        });
    }
}

/// The attributes that the server has given a new, empty file. The error is the line of the check that needs them.
pub(super) fn new_file(dir: &Dir, name: &str, check: &str) -> Result<Metadata, Line> {
    match dir.create_file(name, b"").and_then(|()| dir.fresh_entry(name)) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => {
            let advice = "look for another client that works on this directory";
            Err(Line::fail(check, "a new file is gone", advice))
        }
        Err(error) => Err(Line::unexpected(check, &error)),
    }
}
