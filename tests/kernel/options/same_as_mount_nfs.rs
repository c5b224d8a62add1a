//! Each list of options is mounted by mount.nfs(8) and by the driver's code, and the kernel's mount tables are compared.
//!
//! Differences on purpose, which are not compared:
//! - `addr`, `clientaddr` and everything about mountd, which mount.nfs asks before the mount and the driver leaves to the
//!   kernel.
//! - `ro` of the superblock: the driver gives that flag to the bind mount of each volume.
//! - `lazytime` and `mand`, which have no effect on NFS, and which the driver leaves out.
//!
//! - Of two `sec` options the last one counts here. The kernel would add them up, and so use the weaker flavor of an
//!   administrator's configuration although a StorageClass asks for `krb5`.
//! - `nosoftreval`, which nfs(5) describes and the kernel does not know: the driver leaves it out.
//!
//! Lists with two versions are not in the comparison, because mount.nfs refuses them; here the last version counts, since
//! the options of several sources form one list (unit tests in `src/linux/nfs/options`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use nfs_subdir_csi::linux::{NfsSource, nfs, nfs_options};

use super::generator;
use crate::fixture::{Place, mounts, say, server};

/// The flags of the mount itself, and the options of the file system.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    flags: BTreeSet<String>,
    options: BTreeSet<String>,
}

const NOT_COMPARED: [&str; 9] =
    ["addr", "clientaddr", "mountaddr", "mountport", "mountproto", "rw", "ro", "lazytime", "mand"];

fn own_flags(flags: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    flags.into_iter().filter(|flag| ["ro", "nosuid", "nodev", "noexec"].contains(&flag.as_str())).collect()
}

/// What the kernel says about the mount at `place`: its line in mountinfo, and the longer list in mountstats.
fn shown(place: &Path) -> Shown {
    let mount = mounts::at(place).pop().unwrap();
    let stats = std::fs::read_to_string("/proc/self/mountstats").unwrap();
    let (_, stats) = stats.split_once(&format!("mounted on {} ", place.display())).unwrap();
    let (_, stats) = stats.split_once("opts:\t").unwrap();
    let stats = stats.lines().next().unwrap().split(',').map(str::to_owned);
    let mut options: BTreeSet<String> = mount.options.iter().cloned().chain(stats).collect();
    options.retain(|option| !NOT_COMPARED.contains(&option.split('=').next().unwrap()));
    // These flags belong to the mount, and mountstats repeats them.
    options.retain(|option| !["nosuid", "nodev", "noexec", "relatime", "noatime"].contains(&option.as_str()));
    Shown { flags: own_flags(mount.flags), options }
}

fn unmount(place: &Path) {
    server::run(Command::new("umount").arg(place));
}

fn by_mount_nfs(list: &str, place: &Path) -> Option<Shown> {
    let options = format!("{list},retry=0");
    let mut command = Command::new("timeout");
    command.args(["20", "mount", "-t", "nfs", "-o", &options, "nfs-server:/share"]).arg(place);
    if !command.output().unwrap().status.success() {
        return None;
    }
    let shown = shown(place);
    unmount(place);
    Some(shown)
}

fn by_driver(list: &str, place: &Path) -> Result<Shown, String> {
    let (options, flags) = nfs_options::parse(&[list]).map_err(|error| error.to_string())?;
    let source = NfsSource { server: server::NAME.to_owned(), share: "/share".to_owned() };
    nfs::mount_first(std::slice::from_ref(&source), &options, place, |_| ())
        .map_err(|error| error.to_string())?;
    let mut shown = shown(place);
    shown.flags = own_flags(flags.named().into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()));
    unmount(place);
    Ok(shown)
}

fn mount_point(place: &Place) -> PathBuf {
    let path = place.dir.join("compared");
    std::fs::create_dir(&path).unwrap();
    path
}

#[tokio::test]
async fn lists_of_options_have_the_outcome_of_mount_nfs() {
    let place = Place::take(&[]).await;
    let mount_point = mount_point(&place);
    let lists = generator::lists();
    assert!(lists.len() >= 200, "{}", lists.len());
    let table = std::env::var_os("NFS_SUBDIR_CSI_TABLE").is_some();
    let mut differences = Vec::new();
    for list in &lists {
        let list = list.join(",");
        let (theirs, ours) = (by_mount_nfs(&list, &mount_point), by_driver(&list, &mount_point));
        if table {
            let ours = ours.as_ref().map(|shown| shown.options.iter().cloned().collect::<Vec<_>>().join(","));
            say(&format!("{list:60} {}", ours.unwrap_or_else(Clone::clone)));
        }
        if theirs.as_ref() != ours.as_ref().ok() {
            differences.push(format!("{list}\n  mount.nfs: {theirs:?}\n  driver: {ours:?}"));
        }
    }
    say(&format!("{} lists compared with mount.nfs, {} different", lists.len(), differences.len()));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn what_mount_nfs_refuses_is_refused_with_the_name_of_the_option() {
    let place = Place::take(&[]).await;
    let mount_point = mount_point(&place);
    for list in generator::REFUSED {
        assert_eq!(by_mount_nfs(list, &mount_point), None, "{list}");
        let refusal = nfs_options::parse(&[list]).unwrap_err().to_string();
        let name = list.split([',', '=']).next().unwrap();
        assert!(refusal.contains(&format!("`{name}")), "{list}: {refusal}");
    }
}
