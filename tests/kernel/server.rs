//! The guest's NFS server, seen from its own side.

use std::path::{Path, PathBuf};
use std::process::Command;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::volume::name::sub_dir::STATE_DIR;

use super::canary::Canary;

/// The name of the server.
pub(crate) const NAME: &str = "nfs-server";

/// Where the server keeps the directory of a volume.
pub(crate) fn directory(volume: &proto::Volume) -> PathBuf {
    exported(&volume.volume_context["share"]).join(&volume.volume_context["subDir"])
}

/// Where the server keeps a share.
pub(crate) fn exported(share: &str) -> PathBuf {
    Path::new("/export").join(share.trim_start_matches('/'))
}

/// What is on a share but the driver's own and the canaries, sorted.
pub(crate) fn entries(share: &str) -> Vec<String> {
    let entries = exported(share).read_dir().unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != STATE_DIR && !Canary::is_named(name));
    names.sort();
    names
}

/// Empties a share. No client may have it mounted.
pub(crate) fn clear(share: &str) {
    run(Command::new("find").arg(exported(share)).args(["-mindepth", "1", "-delete"]));
}

/// Runs a command of the guest, which must succeed, and returns its output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The server restarted with some NFS versions only. Has all of them again when dropped. No client may have
/// anything mounted at either moment.
pub(crate) struct Restricted;

impl Restricted {
    pub(crate) fn to(versions: &[&str]) -> Self {
        restart(versions);
        Self
    }
}

impl Drop for Restricted {
    fn drop(&mut self) {
        restart(&[]);
    }
}

fn restart(versions: &[&str]) {
    let nfsd = Path::new(env!("CARGO_MANIFEST_DIR")).join("vm/guest/nfsd");
    run(Command::new(&nfsd).arg("stop"));
    run(Command::new(&nfsd).arg("start").args(versions));
}
