//! A share, mounted by the kernel's NFS client, with a source, an empty target and a directory for hard links.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use nfs_subdir_csi::linux::copy::{
    CopyError, CopyRequest, DeviceNodes, Progress, Summary, Support, copy_tree,
};
use nfs_subdir_csi::linux::remove::{Pace, remove_tree};
use nfs_subdir_csi::linux::{self, Dir};

use crate::fixture::{Place, server};

pub(crate) struct Stage {
    /// The mount point of the share.
    pub(crate) mounted: PathBuf,
    /// The same share on the server's own file system.
    pub(crate) exported: PathBuf,
    pub(crate) progress: Progress,
    _place: Place,
}

/// The names of the three directories.
const SOURCE: &str = "source";
const COPY: &str = "copy";
const LINKS: &str = "links";

impl Stage {
    /// Mounts an empty `share` with an NFS `version`.
    pub(crate) async fn set(share: &str, version: &str) -> Self {
        Self::set_with(share, version, "nosuid,nodev").await
    }

    /// Like [`Self::set`], with other mount options.
    pub(crate) async fn set_with(share: &str, version: &str, options: &str) -> Self {
        // A copy has hundreds of nested directories open at the same time.
        linux::raise_open_files().unwrap();
        let place = Place::take(&[]).await;
        let (mounted, exported) = (place.dir.join("share"), server::exported(share));
        for name in [SOURCE, COPY, LINKS] {
            let _ = remove_tree(&Dir::open(&exported).unwrap(), OsStr::new(name), &Pace::new(None));
            std::fs::create_dir(exported.join(name)).unwrap();
        }
        std::fs::create_dir(&mounted).unwrap();
        let stage = Self { mounted, exported, progress: Progress::default(), _place: place };
        let source = format!("{}:{share}", server::NAME);
        let options = format!("vers={version},{options}");
        server::run(Command::new("mount").args(["-t", "nfs", "-o", &options, &source]).arg(&stage.mounted));
        stage
    }

    /// The source on the server.
    pub(crate) fn source(&self) -> PathBuf {
        self.exported.join(SOURCE)
    }

    /// The source on the client.
    pub(crate) fn mounted_source(&self) -> PathBuf {
        self.mounted.join(SOURCE)
    }

    /// The copy on the server.
    pub(crate) fn target(&self) -> PathBuf {
        self.exported.join(COPY)
    }

    pub(crate) fn copy(&self, support: &Support) -> Result<Summary, CopyError> {
        let mounted = |name| Dir::open(&self.mounted.join(name)).unwrap();
        let (from, to, links) = (mounted(SOURCE), mounted(COPY), mounted(LINKS));
        let order = CopyRequest {
            from: &from,
            to: &to,
            links: &links,
            support,
            devices: DeviceNodes::Copy,
            progress: &self.progress,
        };
        let copied = copy_tree(&order);
        self.empty(LINKS);
        copied
    }

    /// Empties a directory through the client.
    fn empty(&self, name: &str) {
        let dir = Dir::open(&self.mounted.join(name)).unwrap();
        dir.for_each_entry(|entry| remove_tree(&dir, &entry.name, &Pace::new(None)).unwrap()).unwrap();
    }

    pub(crate) fn remove_copy(&self) {
        self.empty(COPY);
    }
}

impl Drop for Stage {
    /// Removes everything, because other tests need the space of a small file system.
    fn drop(&mut self) {
        for name in [SOURCE, COPY, LINKS] {
            let _ = remove_tree(&Dir::open(&self.exported).unwrap(), OsStr::new(name), &Pace::new(None));
        }
    }
}

/// Compares two trees on the server with rsync, which lists what it would have to change in the second. `more` are arguments
/// of rsync.
pub(crate) fn assert_same(source: &Path, copy: &Path, more: &[&str]) {
    let mut rsync = Command::new("rsync");
    // Compares times to the nanosecond.
    rsync.args(["-aHAXn", "--delete", "--itemize-changes", "--modify-window=-1"]).args(more);
    let listed = server::run(rsync.arg(source.join("")).arg(copy.join("")));
    assert_eq!(listed, "");
}
