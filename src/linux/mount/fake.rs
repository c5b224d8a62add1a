//! A [`Mounter`] for tests without root: the directories are real, the mount table is in memory.
//!
//! It is for tests of the driver's decisions. What the kernel does is tested in `tests/kernel`.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use parking_lot::{Mutex, MutexGuard};

use super::mounter::{ExportRoot, Mounter, PreparedBind};
use super::mountinfo::{Mount, MountTable};
use crate::linux::dir::Dir;
use crate::linux::error::{Result, SysError};
use crate::linux::nfs::options::{BindFlags, NfsOptions};
use crate::linux::nfs::{MountError, NfsSource};

/// Its exports are local directories, named with [`FakeMounter::serve`].
#[derive(Debug, Default)]
pub struct FakeMounter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    exports: BTreeMap<String, PathBuf>,
    table: Vec<Mount>,
    export_mounts: usize,
    failures: usize,
    delay: Duration,
}

impl FakeMounter {
    /// Makes the local directory `path` the export `source` (`server:/share`).
    pub fn serve(&self, source: &str, path: &Path) {
        self.state().exports.insert(source.to_owned(), path.to_owned());
    }

    /// How often an export has been mounted.
    #[must_use]
    pub fn export_mounts(&self) -> usize {
        self.state().export_mounts
    }

    /// From now on a mount that fails takes so long.
    pub fn delay_failures(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// How often an export could not be mounted.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.state().failures
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Mounter for FakeMounter {
    fn mount_export(&self, sources: &[NfsSource], _: &NfsOptions) -> Result<ExportRoot, MountError> {
        let mut state = self.state();
        let served = |source: &&NfsSource| state.exports.contains_key(&source.to_string());
        let Some(source) = sources.iter().find(served) else {
            let tried = vec![format!("{} (a fake)", sources[0].server)];
            state.failures += 1;
            let delay = state.delay;
            drop(state);
            std::thread::sleep(delay);
            return Err(MountError::Unreachable { export: sources[0].clone(), port: 2049, tried });
        };
        let path = state.exports[&source.to_string()].clone();
        state.export_mounts += 1;
        let mount_point = PathBuf::from(format!("/exports/{}", state.export_mounts));
        state.table.push(entry(&mount_point, &source.to_string(), BindFlags::default()));
        let dir = Dir::open(&path)?.with_label(source.to_string());
        Ok(ExportRoot { dir, mount_point, version: "4.2".to_owned() })
    }

    fn release_export(&self, root: &ExportRoot) -> Result<()> {
        self.unmount(&root.mount_point)
    }

    fn prepare(&self, dir: &Dir, flags: BindFlags) -> Result<PreparedBind> {
        Ok(PreparedBind { private: PathBuf::new(), label: dir.label(), flags })
    }

    fn place(&self, bind: PreparedBind, target: &Path) -> Result<()> {
        self.state().table.push(entry(target, &bind.label, bind.flags));
        Ok(())
    }

    fn discard(&self, _: PreparedBind) -> Result<()> {
        Ok(())
    }

    fn unmount(&self, target: &Path) -> Result<()> {
        let mut state = self.state();
        let topmost = state.table.iter().rposition(|mount| mount.mount_point == target);
        let index =
            topmost.ok_or_else(|| SysError::new("unmount", target.display().to_string(), Errno::EINVAL))?;
        state.table.remove(index);
        Ok(())
    }

    fn unmount_unused(&self, target: &Path) -> Result<()> {
        self.unmount(target)
    }

    fn table(&self) -> Result<MountTable> {
        Ok(self.state().table.iter().cloned().collect())
    }
}

fn entry(mount_point: &Path, source: &str, flags: BindFlags) -> Mount {
    let options = flags.named().into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()).collect();
    Mount {
        device: "0:99".to_owned(),
        mount_point: mount_point.to_owned(),
        options,
        shared: true,
        fs_type: "nfs4".to_owned(),
        source: std::ffi::OsStr::from_bytes(source.as_bytes()).to_owned(),
    }
}
