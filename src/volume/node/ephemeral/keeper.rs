//! The threads that remove ephemeral volumes whose pods have ended, and give the signs of life of this node. There is one thread for
//! each export, so that a server that does not answer delays no other export.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::EphemeralVolumes;
use super::notes::Note;
use crate::volume::error::Result;
use crate::volume::name::export::ExportRef;
use crate::volume::policy::settings::ResolvedExport;
use crate::volume::share::nodes::NodeFolder;
use crate::volume::share::state_dir::StateDir;

/// How often a node looks for what other nodes have left on a share. A controller may not know the share.
const SWEEP: Duration = Duration::from_hours(1);

impl EphemeralVolumes {
    /// Makes the thread of an export look at its volumes. If the thread cannot be started, the next call tries that again.
    pub(super) fn wake(self: &Arc<Self>, export: &ExportRef) {
        let mut keepers = self.keepers.lock();
        if keepers.get(export).is_some_and(|keeper| keeper.send(()).is_ok()) {
            return;
        }
        let (wake, woken) = channel();
        let (volumes, own) = (Arc::clone(self), export.clone());
        let thread = std::thread::Builder::new().name("ephemeral".to_owned());
        match thread.spawn(move || volumes.keep(&own, &woken)) {
            Ok(_) => drop(keepers.insert(export.clone(), wake)),
            Err(error) => {
                tracing::error!(%error, "cannot start the thread that removes ephemeral volumes; it is tried again later");
            }
        }
    }

    /// Ends when no note for the export is left.
    fn keep(self: &Arc<Self>, export: &ExportRef, woken: &Receiver<()>) {
        let interval = self.exports.abandoned_after();
        let mut swept = None;
        loop {
            // One round is enough for several calls.
            while woken.try_recv().is_ok() {}
            if let Err(error) = self.round(export, interval, &mut swept) {
                tracing::warn!(%export, %error, "cannot look after the ephemeral volumes of an export now; it is tried again");
            }
            if self.is_done(export) || woken.recv_timeout(interval) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Whether nothing is left to do. In this case the next call starts another thread.
    fn is_done(&self, export: &ExportRef) -> bool {
        let mut keepers = self.keepers.lock();
        let is_done = self.notes.all().is_ok_and(|notes| notes.iter().all(|note| &note.export != export));
        if is_done {
            keepers.remove(export);
        }
        is_done
    }

    /// NFS requests: LOOKUP twice and SETATTR for the sign of life; for each volume that is over LOOKUP twice and RENAME.
    fn round(&self, export: &ExportRef, interval: Duration, swept: &mut Option<Instant>) -> Result<()> {
        let mut notes = self.notes.all()?;
        notes.retain(|note| &note.export == export);
        for note in notes.iter().filter(|note| is_orphan(&note.target)) {
            // Kubelet has removed the pod without an unpublish.
            if self.work_on(&note.key()).is_some() {
                self.notes.end(&note.key())?;
            }
        }
        if notes.is_empty() {
            return Ok(());
        }
        let resolved = self.resolve(export)?;
        let (options, _) = resolved.options::<&str>(&[])?;
        let is_due = swept.is_none_or(|swept: Instant| swept.elapsed() >= SWEEP);
        self.exports.with_any(&resolved, &options, |mounted| {
            let state = match mounted.existing_state()? {
                // Version 0.1.0 made only the part that it needed.
                None if notes.iter().any(|note| note.folder.is_old()) => Some(mounted.state()?),
                state => state,
            };
            let mut removed = false;
            for note in &notes {
                removed |= self.remove_ended(state.as_deref(), note)?;
            }
            let Some(state) = state else { return Ok(()) };
            if is_due {
                removed |= self.remove_unknown(&state)?;
            }
            if removed || is_due {
                mounted.reap(&state, None);
            }
            self.give_signs(&state, &notes, interval)
        })?;
        if is_due {
            *swept = Some(Instant::now());
        }
        Ok(())
    }

    /// The export with the options of the configuration. A volume of version 0.1.0 may be on one that the configuration does not
    /// have.
    fn resolve(&self, export: &ExportRef) -> Result<ResolvedExport> {
        let settings = self.settings.get();
        match export {
            ExportRef::Named(_) => settings.resolve(export),
            ExportRef::Inline(inline) => match settings.named(inline) {
                Some(named) => settings.resolve(&named),
                None => Ok(ResolvedExport::mounted(inline.clone())),
            },
        }
    }

    /// Removes the directory of a volume whose pod has ended, and then its note.
    fn remove_ended(&self, state: Option<&StateDir>, note: &Note) -> Result<bool> {
        let key = note.key();
        let Some(_busy) = self.work_on(&key) else { return Ok(false) };
        if self.notes.read_ended(&key)?.is_none() {
            return Ok(false);
        }
        let removed = state.map_or(Ok(false), |state| state.discard_ephemeral(&note.folder, &key))?;
        self.notes.forget(&key)?;
        tracing::info!(volume = note.volume_id, removed, "the ephemeral volume is over");
        Ok(removed)
    }

    /// Removes the directories in this node's own folder that have no note. A note is written before its directory is made.
    fn remove_unknown(&self, state: &StateDir) -> Result<bool> {
        let own = self.notes.own_folder()?;
        let mut removed = false;
        for key in state.ephemeral_keys(&own)? {
            let Some(_busy) = self.work_on(&key) else { continue };
            if self.notes.read(&key)?.is_none() && self.notes.read_ended(&key)?.is_none() {
                removed |= state.discard_ephemeral(&own, &key)?;
            }
        }
        Ok(removed)
    }

    fn give_signs(&self, state: &StateDir, before: &[Note], interval: Duration) -> Result<()> {
        let mut now = self.notes.all()?;
        now.retain(|note| before.iter().any(|before| before.export == note.export));
        let folders: HashSet<&NodeFolder> = before.iter().map(|note| &note.folder).collect();
        for folder in folders {
            if now.iter().any(|note| &note.folder == folder) {
                state.sign_for_node(folder, interval)?;
            } else {
                state.remove_node_dir(folder)?;
            }
        }
        Ok(())
    }
}

/// Whether the pod of a target is gone: kubelet makes the directory above the target before it publishes, and removes it after
/// the unpublish.
fn is_orphan(target: &Path) -> bool {
    target.parent().is_some_and(|parent| matches!(parent.try_exists(), Ok(false)))
}
