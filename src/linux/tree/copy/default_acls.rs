//! The NFS 4 access control lists that new entries of the copy have.

use std::collections::HashMap;

use nix::errno::Errno;
use parking_lot::Mutex;

use crate::linux::dir::metadata::Metadata;
use crate::linux::raw::FileKind;

/// The NFS 4 list that the server gives a new entry, by kind and mode. It is asked for once. If an entry of the source
/// has the same list, the copy's list does not have to be set.
#[derive(Default)]
pub(super) struct DefaultAcls(Mutex<HashMap<KindAndMode, Option<Vec<u8>>>>);

/// Whether the entry is a directory, and its permission bits.
type KindAndMode = (bool, u32);

impl DefaultAcls {
    /// The list of a new entry with this kind and mode; `None` if the file system has no such lists. Calls `ask` if no
    /// entry of this kind and mode has been asked for.
    pub(super) fn of(
        &self,
        metadata: &Metadata,
        ask: impl FnOnce() -> Result<Option<Vec<u8>>, Errno>,
    ) -> Result<Option<Vec<u8>>, Errno> {
        let key = (metadata.kind == FileKind::Directory, metadata.attributes.mode & 0o777);
        if let Some(list) = self.0.lock().get(&key) {
            return Ok(list.clone());
        }
        let list = ask()?;
        self.0.lock().insert(key, list.clone());
        Ok(list)
    }
}
