//! Taking a volume away.

use crate::linux::Dir;

use crate::volume::error::Result;
use crate::volume::error::refuse_unsafe;
use crate::volume::name::source::job_name;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::on_delete::OnDelete;
use crate::volume::share::directory::remove_empty_parents;
use crate::volume::share::directory::{find_directory, make_parents};
use crate::volume::share::record::Record;
use crate::volume::share::state_dir::StateDir;
use crate::volume::volumes::{ResolvedVolume, Volumes};

impl Volumes {
    /// Deletes the volume with this handle by the policy in its record, or in the handle if csi-driver-nfs wrote it. A
    /// handle that names no volume is done with. `secret` are mount options from the call's secrets.
    ///
    /// The directory goes first and the record last, so a driver killed in between finds the record on the retry and
    /// the directory gone, and goes on from there. The cost does not depend on what is in the volume. NFS requests: 4
    /// to read the record (OPEN, READ, CLOSE, DELEGRETURN), 1 LOOKUP to see that the directory is one, 1 RENAME, 1
    /// REMOVE.
    pub fn delete(&self, handle: &str, secret: Option<&str>) -> Result<()> {
        // Nothing is mounted and nothing on any server looked at for a text that is no handle.
        let Some(located) = self.locate(handle, secret)? else { return Ok(()) };
        let own = job_name(&located.handle);
        self.copies.refuse_while_source(&own)?;
        self.copies.cancel(&own)?;
        self.exports.with_any(&located.export, &located.options, |mounted| {
            let Some(record) = located.record(mounted)? else { return Ok(()) };
            let state = mounted.state()?;
            match record.on_delete {
                OnDelete::Delete => {
                    discard(mounted.share(), &state, &located, &record.sub_dir)?;
                    mounted.reap(&state, Some(self.settings.get().strictest_policy()));
                }
                OnDelete::Archive => archive(mounted.share(), &record)?,
                OnDelete::Retain => {}
            }
            state.remove(&located.handle.key)?;
            mounted.promised_changed(record.capacity_bytes, 0);
            Ok(())
        })
    }
}

fn discard(share: &Dir, state: &StateDir, located: &ResolvedVolume, sub_dir: &SubDir) -> Result<()> {
    if let Some(parent) = find_directory(share, sub_dir)? {
        state.discard(&parent, sub_dir.split().1, &located.handle.key, located.export.policy)?;
        remove_empty_parents(share, sub_dir);
    }
    Ok(())
}

/// Renames the directory to `archived-…`, to a name that is free: an earlier archive is never overwritten.
fn archive(share: &Dir, record: &Record) -> Result<()> {
    let Some(parent) = find_directory(share, &record.sub_dir)? else { return Ok(()) };
    let mut archived = record.sub_dir.archived();
    let (archive_parent, _) = archived.split();
    let archive_parent = match archive_parent {
        Some(path) => make_parents(share, path)?,
        None => share.open_place(".").map_err(refuse_unsafe)?,
    };
    if archive_parent.is_dir(archived.split().1)?.is_some() {
        archived = archived.with_suffix(&format!("-{:x}", crate::linux::unique()));
    }
    parent.rename(record.sub_dir.split().1, &archive_parent, archived.split().1)?;
    remove_empty_parents(share, &record.sub_dir);
    Ok(())
}
