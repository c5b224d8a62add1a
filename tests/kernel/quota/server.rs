//! The agent as a process on the server, and what a pod and the server see of a limit.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::linux::Dir;
use nfs_subdir_csi::linux::quota::{FileSystem, Quota};
use nfs_subdir_csi::volume::name::handle::VolumeKey;
use nfs_subdir_csi::volume::share::quota::{QuotaFolder, Report};
use nix::sys::statvfs::statvfs;

use crate::fixture::{self, BINARY, log_level, server};
use crate::support;

pub(crate) const MIB: u64 = 1 << 20;

/// The agent of a share, killed when dropped.
pub(crate) struct Agent(Child);

/// The arguments of the agent of a share.
pub(crate) fn arguments(share: &str, args: &[&str]) -> Vec<String> {
    let share = format!("{}={share}", fixture::text(&server::exported(share)));
    let own = ["quota", "--log-level", log_level(), "--share", &share];
    [&own, args].concat().into_iter().map(str::to_owned).collect()
}

/// The program. For a measurement, NFS_SUBDIR_CSI_BINARY can name one that was built with `make build`.
fn program() -> Command {
    Command::new(std::env::var("NFS_SUBDIR_CSI_BINARY").as_deref().unwrap_or(BINARY))
}

impl Agent {
    pub(crate) fn start(share: &str, args: &[&str]) -> Self {
        Self(program().args(arguments(share, args)).stdin(Stdio::null()).spawn().unwrap())
    }

    /// Starts the agent and writes its log, with details, as JSON to a file.
    pub(crate) fn start_with_log(share: &str, args: &[&str], log: &Path) -> Self {
        let mut all = arguments(share, &[&["--log-format", "json"], args].concat());
        let level = all.iter().position(|arg| arg == "--log-level").unwrap() + 1;
        "debug".clone_into(&mut all[level]);
        let log = std::fs::File::create(log).unwrap();
        Self(program().args(all).stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the agent once.
pub(crate) fn once(share: &str, args: &[&str]) -> Output {
    program().args(arguments(share, &[&["--once"], args].concat())).output().unwrap()
}

/// What the agent has written about a volume.
pub(crate) fn report(share: &str, key: &str) -> Option<Report> {
    let state = Dir::open(&server::exported(share).join(".nfs-subdir-csi")).ok()?;
    QuotaFolder::open(&state).unwrap()?.read(&VolumeKey::of_name(key)).unwrap()
}

/// The project id of a directory or file on the server; 0 for none.
pub(crate) fn project_of(path: &Path) -> u32 {
    let text = server::run(Command::new("xfs_io").args(["-r", "-c", "lsproj"]).arg(path));
    text.trim().trim_start_matches("projid = ").parse().unwrap()
}

/// Limits and usage of a project.
pub(crate) fn quota(share: &str, project: u32) -> Quota {
    file_system(share).quota(project).unwrap()
}

/// The projects of the agent's range for volumes that have a limit or a usage.
pub(crate) fn projects(share: &str) -> Vec<u32> {
    let (file_system, mut found, mut from) = (file_system(share), Vec::new(), 1_500_000_000);
    while let Some((id, _)) = file_system.next_quota(from).unwrap() {
        // The last id is that of the agent's sample.
        if id < 1_999_999_999 {
            found.push(id);
        }
        from = id + 1;
    }
    found
}

fn file_system(share: &str) -> FileSystem {
    FileSystem::of(&Dir::open(&server::exported(share)).unwrap()).unwrap()
}

/// The size that a pod sees.
pub(crate) fn size_in_pod(target: &Path) -> u64 {
    let stat = statvfs(target).unwrap();
    stat.blocks() * stat.fragment_size()
}

/// Writes as a pod that does not run as root. Returns what dd says.
pub(crate) fn write_in_pod(file: &Path, mebibytes: u64) -> Result<(), String> {
    let of = format!("of={}", file.display());
    let count = format!("count={mebibytes}");
    let own = ["--reuid=1000", "--regid=1000", "--clear-groups", "dd", "if=/dev/zero", "bs=1M", "conv=fsync"];
    let output = Command::new("setpriv").args(own).args([of, count]).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

/// What a pod's write beyond the limit ends with.
pub(crate) fn message_of_limit(share: &str) -> &'static str {
    if share == "/share" { "No space left on device" } else { "Disk quota exceeded" }
}

/// A request for a volume of this size that every user can write to.
pub(crate) fn sized(share: &str, name: &str, bytes: u64) -> proto::CreateVolumeRequest {
    let range = proto::CapacityRange { required_bytes: i64::try_from(bytes).unwrap(), limit_bytes: 0 };
    let parameters = [("server", server::NAME), ("share", share), ("mountPermissions", "0777")];
    proto::CreateVolumeRequest { capacity_range: Some(range), ..support::create(name, &parameters) }
}

/// A file of a record on the server.
pub(crate) fn record(share: &str, key: &str) -> std::path::PathBuf {
    server::exported(share).join(".nfs-subdir-csi/volumes").join(format!("{key}.json"))
}
