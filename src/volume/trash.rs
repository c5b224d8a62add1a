//! Deleted volumes: their directories are moved aside in one rename, and emptied in the background.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::linux::{Dir, remove, unique};

use super::VolumeKey;

/// How long after a sweep that left something behind the next one begins.
const RETRY: Duration = Duration::from_mins(1);
/// Entries of the trash read at a time.
const BATCH: usize = 256;

/// The name that the directory of `key` gets in the trash: none was ever called so.
#[must_use]
pub fn name_of(key: &VolumeKey) -> String {
    format!("{key}.{:x}", unique())
}

/// Empties one trash, in a thread of its own: what hangs there hangs nothing else. It ends when this value is
/// dropped and the sweep under way is over. Whatever a killed driver left is found by the next one's first sweep.
pub struct Reaper(Sender<()>);

impl Reaper {
    /// Begins with a first sweep.
    #[must_use]
    pub fn start(trash: Arc<Dir>) -> Self {
        let (wake, woken) = channel();
        let begun = std::thread::Builder::new().name("reaper".to_owned()).spawn(move || run(&trash, &woken));
        if let Err(error) = begun {
            tracing::error!(%error, "cannot start the reaper: deleted volumes stay in the trash until the next try");
        }
        Self(wake)
    }

    /// Says that there is something new in the trash.
    pub fn wake(&self) {
        // An error means that the thread could not be started, which has been said.
        let _ = self.0.send(());
    }
}

fn run(trash: &Dir, woken: &Receiver<()>) {
    let mut clean = true;
    loop {
        let next =
            if clean { woken.recv().map_err(RecvTimeoutError::from) } else { woken.recv_timeout(RETRY) };
        if matches!(next, Err(RecvTimeoutError::Disconnected)) {
            return;
        }
        // Several deletions need one sweep.
        while woken.try_recv().is_ok() {}
        clean = sweep(trash);
    }
}

/// Removes what is in the trash. `false` if something could not be removed.
fn sweep(trash: &Dir) -> bool {
    loop {
        let entries = match trash.entries(BATCH) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "cannot read the trash");
                return false;
            }
        };
        if entries.is_empty() {
            return true;
        }
        let removed: Vec<bool> = entries.iter().map(|entry| remove_one(trash, &entry.name)).collect();
        if removed.contains(&false) {
            return false;
        }
    }
}

fn remove_one(trash: &Dir, name: &OsStr) -> bool {
    match remove::remove_tree(trash, name) {
        Ok(()) => {
            tracing::info!(trash = %trash.label(), name = %name.display(), "deleted volume removed");
            true
        }
        Err(failures) => {
            let first = failures.first().map(ToString::to_string).unwrap_or_default();
            let count = failures.len();
            tracing::warn!(trash = %trash.label(), name = %name.display(), count, first, "not all could be removed");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_reaper_empties_what_an_earlier_one_left() {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temporary.path().join("v.1/deep/er")).unwrap();
        std::fs::write(temporary.path().join("v.1/file"), "x").unwrap();
        let trash = Arc::new(Dir::open(temporary.path()).unwrap());
        Reaper::start(Arc::clone(&trash)).wake();
        let empty = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(25));
            trash.entries(1).unwrap().is_empty()
        });
        assert!(empty);
    }
}
