//! The ephemeral volumes of nodes: `nodes/<node>/<key>/`, and beside them `alive`, the node's sign of life.
//!
//! A node keeps its name on a local disk, so a node service that is started again finds the directories of the one before.
//! As long as it has a volume on the share, it touches `alive`. If a node is silent for a long time, others remove its directories
//! (`silent.rs`).

pub(in crate::volume::share) mod silent;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::linux::{Dir, unique_text};

use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::STATE_DIR;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::process_dir::{ALIVE, Sign, plain};
use crate::volume::share::state_dir::StateDir;

/// The folder of the state directory in which the nodes have their directories.
const FOLDER: &str = "nodes";
/// The folder in which version 0.1.0 has put the ephemeral volumes of all nodes. It has no signs of life.
const OLD_FOLDER: &str = "ephemeral";
/// Only the driver may use it.
const MODE: u32 = 0o700;
/// How often a directory is made again if another process has removed it while it was empty.
const ATTEMPTS: usize = 3;
/// A node counts as silent after this many signs of life are missing.
const SIGNS: u32 = 6;

/// The directory in which the ephemeral volumes of a node lie: a path below the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeFolder(String);

impl NodeFolder {
    /// A directory for a node that had none before. No other node gets it, whatever the nodes are called.
    #[must_use]
    pub fn of_new_node(node_id: &str) -> Self {
        Self(format!("{FOLDER}/{}.{}", plain(node_id), unique_text()))
    }

    /// Where below the share the volume of this key lies.
    #[must_use]
    pub fn path_of(&self, key: &VolumeKey) -> PathBuf {
        Path::new(STATE_DIR).join(&self.0).join(key.as_str())
    }

    /// The folder of a volume that is at this path of a server, and the path of the share: for
    /// `/srv/.nfs-subdir-csi/nodes/n.1/<key>` they are `nodes/n.1` and `/srv`.
    #[must_use]
    pub fn of_path<'a>(path: &'a str, key: &VolumeKey) -> Option<(Self, &'a str)> {
        let path = path.strip_suffix(key.as_str())?.strip_suffix('/')?;
        let (share, folder) = path.rsplit_once(&format!("/{STATE_DIR}/"))?;
        Some((Self::try_from(folder.to_owned()).ok()?, share))
    }

    /// Whether version 0.1.0 has made the volume. Its folder is that of all nodes, and has no sign of life.
    #[must_use]
    pub fn is_old(&self) -> bool {
        self.0 == OLD_FOLDER
    }
}

impl TryFrom<String> for NodeFolder {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let is_node = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        let is_folder = text == OLD_FOLDER
            || text.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/')).is_some_and(is_node);
        if is_folder {
            return Ok(Self(text));
        }
        Err(Error::invalid("folder", format!("{text:?} is no folder of ephemeral volumes")))
    }
}

impl From<NodeFolder> for String {
    fn from(folder: NodeFolder) -> Self {
        folder.0
    }
}

impl StateDir {
    /// Opens the directory of an ephemeral volume, and makes it if this is its first publish. NFS requests: LOOKUP for the two
    /// folders; if the volume is new MKDIR and ACCESS, and the same for the folder of a new node.
    pub fn open_ephemeral(&self, folder: &NodeFolder, key: &VolumeKey, mode: u32) -> Result<Dir> {
        let open = || Ok(self.make_node_dir(folder)?.open_or_make_dir(key.as_str(), mode)?);
        for _ in 1..ATTEMPTS {
            match open() {
                // It was empty, and was removed between two steps.
                Err(error) if Error::is_gone(&error) => {}
                opened => return opened,
            }
        }
        open()
    }

    fn make_node_dir(&self, folder: &NodeFolder) -> Result<Dir> {
        let mut dir = None;
        for name in folder.0.split('/') {
            dir = Some(match &dir {
                None => self.part(name)?,
                Some(above) => Dir::open_or_make_dir(above, name, MODE)?,
            });
        }
        dir.ok_or_else(|| Error::invalid("folder", "it is empty"))
    }

    /// Moves the directory of an ephemeral volume to those that are removed in the background. `false` if it is not there. NFS
    /// requests: LOOKUP twice, RENAME. A pod's own volume is not kept, whatever is configured for the export.
    pub fn discard_ephemeral(&self, folder: &NodeFolder, key: &VolumeKey) -> Result<bool> {
        match self.existing_part(&folder.0)? {
            Some(dir) => self.discard(&dir, key.as_str(), key, ExportPolicy::default()),
            None => Ok(false),
        }
    }

    /// Gives the node's sign of life, if it has a directory. The next one is expected after `interval`. NFS requests: LOOKUP
    /// twice, SETATTR.
    pub fn sign_for_node(&self, folder: &NodeFolder, interval: std::time::Duration) -> Result<()> {
        let Some(dir) = self.existing_part(&folder.0)?.filter(|_| !folder.is_old()) else { return Ok(()) };
        match dir.touch(ALIVE) {
            Err(error) if error.is_not_found() => {}
            touched => return Ok(touched?),
        }
        match dir.create_file(ALIVE, Sign::for_silence_of(interval * SIGNS).as_bytes()) {
            Err(error) if !error.is_taken() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The names of all volumes in the directory of a node.
    pub fn ephemeral_keys(&self, folder: &NodeFolder) -> Result<Vec<VolumeKey>> {
        let Some(dir) = self.existing_part(&folder.0)?.filter(|_| !folder.is_old()) else {
            return Ok(Vec::new());
        };
        dir.fresh()?;
        let entries = dir.entries(usize::MAX)?;
        let names = entries.iter().filter_map(|entry| entry.name.to_str());
        Ok(names.filter(|name| *name != ALIVE).filter_map(VolumeKey::parse).collect())
    }

    /// Removes the directory of a node that has no volume on the share any more. What lies in it stays.
    pub fn remove_node_dir(&self, folder: &NodeFolder) -> Result<()> {
        let (Some(nodes), Some(name)) = (self.existing_part(FOLDER)?, folder.0.strip_prefix("nodes/")) else {
            return Ok(());
        };
        match nodes.open_dir(name) {
            Err(error) if error.is_not_found() => Ok(()),
            dir => remove_empty(&nodes, name, &dir?),
        }
    }
}

/// Removes the directory of a node, if nothing but a sign of life is in it.
fn remove_empty(nodes: &Dir, name: impl AsRef<std::ffi::OsStr>, dir: &Dir) -> Result<()> {
    for removed in [dir.remove_file(ALIVE), nodes.remove_dir(name)] {
        match removed {
            Err(error) if !error.is_not_found() && !error.is_not_empty() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_and_the_share_are_read_off_a_path() {
        let key = VolumeKey::of_name("csi-1");
        let read = |path: &str| {
            NodeFolder::of_path(path, &key).map(|(folder, share)| (String::from(folder), share.to_owned()))
        };
        let found = |folder: &str, share: &str| Some((folder.to_owned(), share.to_owned()));
        assert_eq!(read("/srv/.nfs-subdir-csi/nodes/n.1-2/csi-1"), found("nodes/n.1-2", "/srv"));
        assert_eq!(read("/.nfs-subdir-csi/nodes/n.1-2/csi-1"), found("nodes/n.1-2", ""));
        assert_eq!(read("/srv/.nfs-subdir-csi/ephemeral/csi-1"), found("ephemeral", "/srv"));
        for path in [
            "/srv/.nfs-subdir-csi/ephemeral/csi-2",
            "/srv/.nfs-subdir-csi/volumes/csi-1",
            "/srv/.nfs-subdir-csi/nodes/csi-1",
            "/srv/.nfs-subdir-csi/nodes/../csi-1",
            "/srv/.nfs-subdir-csi/nodes/a/b/csi-1",
            "/srv/csi-1",
            "csi-1",
            "",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
        assert_ne!(NodeFolder::of_new_node("n"), NodeFolder::of_new_node("n"));
        let odd = NodeFolder::of_new_node("../../a/b.c~d");
        assert!(NodeFolder::try_from(String::from(odd.clone())).is_ok(), "{odd:?}");
        assert_eq!(odd.path_of(&key).components().count(), 4);
    }
}
