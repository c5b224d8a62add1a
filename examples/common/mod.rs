//! Code that demo and benchmark share: the guest with its NFS server, and the driver's two services in it.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each user needs a part of it")]

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use crate::support::Service;

/// The export under the names that clients use.
pub const SERVER: &str = "127.0.0.1";
pub const SHARE: &str = "/share";
/// The export on the server's own file system. Reading it needs no NFS request.
pub const EXPORTED: &str = "/export/share";
/// The driver's state directory on the export.
pub const STATE_DIR: &str = "/export/share/.nfs-subdir-csi";
/// The parameters of a StorageClass for the export.
pub const PARAMETERS: [(&str, &str); 2] = [("server", SERVER), ("share", SHARE)];

/// How many lines of each service's log are shown after a failure.
const LOG_LINES: usize = 40;
/// Exports stay mounted for the whole run, so that no unmount is measured by accident.
const STAYS_MOUNTED: [&str; 2] = ["--export-linger", "3600"];

/// A kubelet directory with shared propagation, as kubelet has it, and the logs of the services.
pub struct Stage {
    driver: PathBuf,
    dir: PathBuf,
    pub kubelet: PathBuf,
}

impl Stage {
    pub fn set(driver: &Path) -> Result<Self> {
        let guest =
            std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("User Mode Linux"));
        ensure!(
            guest && Path::new(EXPORTED).is_dir(),
            "this program runs in the guest only: vm/run -- PROGRAM DRIVER"
        );
        let left = std::fs::read_dir(EXPORTED)?.count();
        ensure!(left == 0, "{EXPORTED} is not empty: the program needs an empty export");
        let stage = Self {
            driver: driver.canonicalize().with_context(|| driver.display().to_string())?,
            dir: PathBuf::from("/run/csi"),
            kubelet: PathBuf::from("/var/lib/kubelet"),
        };
        std::fs::create_dir_all(&stage.dir)?;
        std::fs::create_dir_all(&stage.kubelet)?;
        mount(Some("kubelet"), &stage.kubelet, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        mount(
            None::<&str>,
            &stage.kubelet,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )?;
        Ok(stage)
    }

    /// Size of the driver's binary in bytes.
    pub fn driver_size(&self) -> Result<u64> {
        Ok(self.driver.metadata()?.len())
    }

    pub fn controller(&self) -> Result<Service> {
        self.start("controller", &[])
    }

    pub fn node(&self) -> Result<Service> {
        self.start("node", &["--node-id", "node-1"])
    }

    fn start(&self, role: &str, args: &[&str]) -> Result<Service> {
        let args = [args, &STAYS_MOUNTED].concat();
        Ok(Service::launch(self.command(role)?, role, &self.dir, &args))
    }

    /// The driver as a command that appends its output to the log of this role.
    pub fn command(&self, role: &str) -> Result<Command> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_of(role))?;
        let mut command = Command::new(&self.driver);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn log_of(&self, role: &str) -> PathBuf {
        self.dir.join(format!("{role}.log"))
    }

    /// The last lines of the services' logs.
    pub fn logs(&self) -> String {
        let tail = |role: &str| {
            let log = std::fs::read_to_string(self.log_of(role)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(LOG_LINES);
            format!("--- log of the {role}\n{}\n", lines[last..].join("\n"))
        };
        tail("controller") + &tail("node")
    }

    /// The target path of the volume `pv` for the pod `uid`. Creates the directories above it.
    pub fn target(&self, uid: &str, pv: &str) -> Result<PathBuf> {
        let parent = self.kubelet.join(format!("pods/{uid}/volumes/kubernetes.io~csi/{pv}"));
        std::fs::create_dir_all(&parent)?;
        Ok(parent.join("mount"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy", "--recursive"]).arg(&self.kubelet).status();
    }
}

/// One NFS mount in a mount table.
pub struct NfsMount {
    /// `major:minor`, one for each NFS file system.
    pub device: String,
    pub place: PathBuf,
    pub version: String,
}

/// The NFS mounts that a process sees (proc_pid_mountinfo(5)). `self` is this process.
pub fn nfs_mounts(process: impl Display) -> Result<Vec<NfsMount>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/mountinfo"))?;
    let parse = |line: &str| {
        let (mount, file_system) = line.split_once(" - nfs")?;
        let mut mount = mount.split(' ');
        let device = mount.nth(2)?.to_owned();
        let place = PathBuf::from(mount.nth(1)?);
        let version = file_system.split([' ', ',']).find_map(|option| option.strip_prefix("vers="))?;
        Some(NfsMount { device, place, version: version.to_owned() })
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// How many different file systems these mounts have.
pub fn file_systems(mounts: &[NfsMount]) -> usize {
    mounts.iter().map(|mount| &mount.device).collect::<BTreeSet<_>>().len()
}

/// How many NFS file systems the kernel's client has, wherever they are mounted.
pub fn superblocks() -> usize {
    // The first line is the heading.
    std::fs::read_to_string("/proc/fs/nfsfs/volumes").map_or(0, |text| text.lines().count().saturating_sub(1))
}

/// The directory of a volume on the server.
pub fn on_server(volume: &proto::Volume) -> PathBuf {
    Path::new(EXPORTED).join(volume.volume_context.get("subDir").map_or("", String::as_str))
}

/// How many deleted volumes still wait to be removed or are being removed, counted on the server.
pub fn in_trash() -> usize {
    entries(&Path::new(STATE_DIR).join("deleted")).len() + in_work()
}

/// How many entries the processes have in their directories, counted on the server.
pub fn in_work() -> usize {
    let processes = entries(&Path::new(STATE_DIR).join("processes"));
    processes.iter().flat_map(|process| entries(process)).filter(|path| !path.ends_with("alive")).count()
}

/// The entries of a directory on the server. Reading it does not change its time of access: to the NFS client that would look
/// like a change of the directory, and it would ask again for what it knows.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOATIME | OFlag::O_CLOEXEC;
    let Ok(open) = nix::dir::Dir::open(dir, flags, Mode::empty()) else { return Vec::new() };
    let names = open.into_iter().flatten().map(|entry| entry.file_name().to_owned());
    let names = names.filter_map(|name| name.into_string().ok()).filter(|name| name != "." && name != "..");
    names.map(|name| dir.join(name)).collect()
}

/// Waits until the trash is empty.
pub async fn trash_emptied() -> Result<()> {
    let begun = Instant::now();
    while in_trash() > 0 {
        ensure!(
            begun.elapsed() < Duration::from_mins(1),
            "{} directories are still in the trash after a minute",
            in_trash()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The answer to a call and how long it took. If the call fails, the error has the code and the message.
pub async fn timed<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<(T, Duration)> {
    let begun = Instant::now();
    let answer = call.await;
    let time = begun.elapsed();
    match answer {
        Ok(answer) => Ok((answer.into_inner(), time)),
        Err(status) => Err(anyhow::anyhow!("{:?}: {}", status.code(), status.message())),
    }
}

/// A number of bytes in a suitable unit.
#[expect(clippy::cast_precision_loss, reason = "for reading")]
pub fn human(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let fits = |power: &usize| bytes >= 1 << (10 * power);
    let power = (1..units.len()).rev().find(fits).unwrap_or(0);
    let number = bytes as f64 / (1_u64 << (10 * power)) as f64;
    let unit = units[power];
    if power == 0 { format!("{bytes} B") } else { format!("{number:.1} {unit}") }
}
