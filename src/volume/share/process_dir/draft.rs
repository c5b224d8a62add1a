//! An entry in the directory of this process.

use std::sync::{Arc, OnceLock};

use super::{FOLDER, ProcessDir};
use crate::linux::Dir;
use crate::linux::dir::HeldFile;
use crate::linux::remove::{Pace, remove_tree};

use crate::volume::error::{Error, Result, several};
use crate::volume::name::handle::VolumeKey;

/// An entry that this process is creating or removing in its directory. The process gives signs of life until this is dropped.
#[derive(Debug)]
pub(in crate::volume) struct Draft {
    process: Arc<ProcessDir>,
    name: String,
    /// The inode number of the directory, once it has been created.
    inode: OnceLock<u64>,
}

impl Draft {
    pub(super) fn new(process: Arc<ProcessDir>, name: String) -> Self {
        Self { process, name, inode: OnceLock::new() }
    }

    /// The directory that the entry is in.
    pub(in crate::volume) fn dir(&self) -> &Dir {
        self.process.dir()
    }

    /// The name of the entry.
    pub(in crate::volume) fn name(&self) -> &str {
        &self.name
    }

    /// Creates the entry as a directory. Two NFS requests: MKDIR and ACCESS.
    pub(in crate::volume) fn make_dir(&self, mode: u32) -> Result<Dir> {
        let opened = self.dir().make_dir(&self.name, mode).and_then(|()| self.dir().open_dir(&self.name));
        let dir = opened.inspect_err(|error| self.process.note(error))?;
        let _ = self.inode.set(dir.inode()?);
        Ok(dir)
    }

    /// Creates the entry as a file with this content, and keeps the file open.
    pub(in crate::volume::share) fn write(&self, content: &[u8]) -> Result<HeldFile> {
        let written = self.dir().create_held(&self.name, content);
        Ok(written.inspect_err(|error| self.process.note(error))?)
    }

    /// Moves the finished directory to its place, with one RENAME. An empty directory in that place is replaced. Fails with [`Error::Busy`]
    /// if another process has taken this one for dead.
    ///
    /// If RENAME returns an error, it may have been done nevertheless: when the reply is lost, the client sends the request again, and
    /// the second one finds nothing to rename. So after an error, the inode number of the entry in that place decides.
    pub(in crate::volume) fn place(&self, to: &Dir, name: &str) -> Result<()> {
        let Err(error) = self.dir().rename(&self.name, to, name) else { return Ok(()) };
        let placed = to.fresh_entry(name).ok().flatten();
        if placed.is_some_and(|placed| self.inode.get() == Some(&placed.inode)) {
            return Ok(());
        }
        self.process.note(&error);
        if error.is_not_found() {
            return Err(Error::Busy(format!(
                "{error}: another process took this one for dead and removed what was being created; ask again"
            )));
        }
        Err(error.into())
    }

    /// Moves the entry `name` of `from` here, with one RENAME. Returns `false` if it does not exist; the reply to a first request may also
    /// have been lost, so it may be here already.
    pub(in crate::volume::share) fn take(&self, from: &Dir, name: &str) -> Result<bool> {
        let Err(error) = from.rename(name, self.dir(), &self.name) else { return Ok(true) };
        if !error.is_not_found() && !error.is_stale() {
            return Err(error.into());
        }
        // The directory of this process may be what is missing. Then nothing was moved.
        match self.dir().fresh() {
            Err(missing) if missing.is_not_found() || missing.is_stale() => {
                self.process.lose();
                Err(Error::Busy(format!("{error}: another process took this one for dead; ask again")))
            }
            Err(failed) => Err(failed.into()),
            Ok(_) if error.is_not_found() => Ok(false),
            Ok(_) => Err(error.into()),
        }
    }

    /// Removes the entry, which is a file, with one REMOVE.
    pub(in crate::volume::share) fn remove_file(&self) -> Result<()> {
        match self.dir().remove_file(&self.name) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Removes the entry with everything in it. If something cannot be removed, this is an error, and the reaper removes it later.
    pub(in crate::volume) fn remove(&self) -> Result<()> {
        self.remove_at(&Pace::new(None))
    }

    pub(in crate::volume::share) fn remove_at(&self, pace: &Pace) -> Result<()> {
        remove_tree(self.dir(), self.name.as_ref(), pace)
            .map_err(|failures| several(failures.into_iter().map(Error::from).collect()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.process.own.held.lock().remove(&self.name);
    }
}

/// What a draft of a volume's directory is called, before the unique end of its name. The quota agent finds it by this name and limits it before it is
/// filled.
pub(in crate::volume) fn draft_of_volume(key: &VolumeKey) -> String {
    format!("{key}.volume")
}

/// The drafts of a volume's directory, in the directories of all processes below the state directory `top`.
pub fn drafts_of_volume(top: &Dir, key: &VolumeKey) -> Result<Vec<Dir>> {
    let processes = match top.open_dir(FOLDER) {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        opened => opened?,
    };
    let beginning = draft_of_volume(key) + ".";
    let mut drafts = Vec::new();
    for process in processes.entries(usize::MAX)? {
        // A process can end, and a draft can be moved into place, at any moment.
        let Ok(process) = processes.open_dir(&process.name) else { continue };
        for entry in process.entries(usize::MAX)? {
            if entry.name.to_str().is_some_and(|name| name.starts_with(&beginning))
                && let Ok(draft) = process.open_dir(&entry.name)
            {
                drafts.push(draft);
            }
        }
    }
    Ok(drafts)
}
