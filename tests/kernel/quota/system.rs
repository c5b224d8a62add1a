//! The system calls for project quotas on XFS and ext4, without the driver.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nfs_subdir_csi::linux::Dir;
use nfs_subdir_csi::linux::copy::Progress;
use nfs_subdir_csi::linux::quota::{FileSystem, Kind, Limits, Project, ProjectQuotas, Tagged, tag_tree};

use crate::fixture::{BINARY, Place, server, until};

const MIB: u64 = 1 << 20;
/// After all ids that agents of other tests have used, whose limits may be left on the file systems.
const ID: u32 = 1_900_000_001;

/// The shares with project quotas, and their file systems.
pub(crate) const SHARES: [(&str, Kind); 2] = [("/share", Kind::Xfs), ("/limited", Kind::Ext4)];

fn open(path: &Path) -> Dir {
    Dir::open(path).unwrap()
}

/// A directory on the server that exists.
fn made(share: &str, name: &str) -> PathBuf {
    let path = server::exported(share).join(name);
    fs::create_dir(&path).unwrap();
    path
}

/// The first project from this one on, but for the sample of the agents of other tests.
fn next(file_system: &FileSystem, id: u32) -> Option<u32> {
    file_system.next_quota(id).unwrap().map(|(id, _)| id).filter(|id| *id != 1_999_999_999)
}

fn tag(dir: &Path, inherit: bool) -> Tagged {
    tag_tree(&open(dir), ID, inherit, |id| id == ID || id == ID + 1, &Progress::default()).unwrap()
}

#[tokio::test]
async fn a_directory_gets_a_project_and_a_limit_and_both_calls_say_the_same() {
    let _place = Place::take(&[]).await;
    for (share, kind) in SHARES {
        let path = made(share, "v");
        let dir = open(&path);
        let (by_handle, by_device) = (FileSystem::of(&dir).unwrap(), FileSystem::by_device(&dir).unwrap());
        assert_eq!(dir.project().unwrap(), Project { id: 0, inherits: false });
        for (number, file_system) in [&by_handle, &by_device].into_iter().enumerate() {
            assert_eq!(file_system.kind, kind);
            assert_eq!(file_system.project_quotas().unwrap(), ProjectQuotas::Enforced);
            let id = ID + 10 + u32::try_from(number).unwrap();
            assert!(file_system.quota(id).unwrap().is_free());
            let limits = Limits { bytes: 8 * MIB + 1, inodes: 100, soft_inodes: 90 };
            file_system.set_limits(id, limits).unwrap();
            dir.set_project(Project { id, inherits: true }).unwrap();
            assert_eq!(dir.project().unwrap(), Project { id, inherits: true });
            fs::write(path.join("file"), vec![1; 1 << 20]).unwrap();
            fs::File::open(path.join("file")).unwrap().sync_all().unwrap();
            for asked in [&by_handle, &by_device] {
                let quota = asked.quota(id).unwrap();
                assert_eq!(quota.limits, Limits { bytes: 8 * MIB + 4096, ..limits });
                assert_eq!(quota.used_inodes, 2, "the directory itself counts");
                assert!((MIB..2 * MIB).contains(&quota.used_bytes), "{quota:?}");
                assert_eq!(asked.next_quota(ID + 2).unwrap().map(|(id, _)| id), Some(id));
                assert_eq!(asked.next_quota(id).unwrap(), Some((id, quota)));
            }
            assert_eq!(next(&by_handle, id + 1), None);
            // A file keeps its id when its directory gets another one.
            fs::remove_file(path.join("file")).unwrap();
            dir.set_project(Project { id: 0, inherits: false }).unwrap();
            assert!(!file_system.quota(id).unwrap().is_free(), "the limit is left");
            file_system.set_limits(id, Limits::default()).unwrap();
            // XFS counts a removed file until it has freed it in the background.
            until("the id is free", || file_system.quota(id).unwrap().is_free()).await;
            assert_eq!(next(file_system, id), None);
        }
    }
}

#[tokio::test]
async fn a_tree_gets_a_project_and_what_does_not_belong_to_it_does_not() {
    let _place = Place::take(&[]).await;
    for (share, _) in SHARES {
        let (top, beside) = (made(share, "v"), made(share, "beside"));
        fs::create_dir_all(top.join("a/b")).unwrap();
        for number in 0..100 {
            fs::write(top.join(format!("a/file-{number}")), "1").unwrap();
        }
        fs::write(beside.join("canary"), "").unwrap();
        symlink(&beside, top.join("link")).unwrap();
        server::run(Command::new("mkfifo").arg(top.join("fifo")));
        // A file of somebody else's project, and a file with a second name in another volume.
        fs::write(top.join("foreign"), "").unwrap();
        server::run(Command::new("xfs_io").args(["-c", "chproj 7"]).arg(top.join("foreign")));
        fs::write(beside.join("shared"), "").unwrap();
        let next = (ID + 1).to_string();
        server::run(
            Command::new("xfs_io").args(["-c", &format!("chproj {next}")]).arg(beside.join("shared")),
        );
        fs::hard_link(beside.join("shared"), top.join("a/shared")).unwrap();
        fs::create_dir(top.join("mounted")).unwrap();
        server::run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(top.join("mounted")));
        fs::write(top.join("mounted/other"), "").unwrap();

        assert_eq!(tag(&top, false), Tagged { changed: 102, foreign: 2, without_project: 2 });
        assert_eq!(tag(&top, false).changed, 0);
        let project = |path: &Path| {
            let text =
                server::run(Command::new("xfs_io").args(["-r", "-c", "lsproj", "-c", "lsattr"]).arg(path));
            (text.contains(&format!("projid = {ID}")), text.contains("-P-") || text.contains("P "))
        };
        assert_eq!(project(&top.join("a")), (true, false));
        assert_eq!(tag(&top, true).changed, 2, "the two directories inherit now");
        assert_eq!(project(&top.join("a")), (true, true));
        fs::write(top.join("a/b/new"), "").unwrap();
        assert_eq!(tag(&top, true).changed, 0);
        assert!(project(&top.join("a/b/new")).0);
        for path in [&top, &beside, &beside.join("canary"), &beside.join("shared"), &top.join("foreign")] {
            assert!(!project(path).0, "{}", path.display());
        }
        server::run(Command::new("umount").arg(top.join("mounted")));
    }
}

#[tokio::test]
async fn a_file_without_the_project_cannot_be_renamed_into_a_directory_that_has_it() {
    let _place = Place::take(&[]).await;
    for (share, _) in SHARES {
        let top = made(share, "v");
        fs::create_dir(top.join("new")).unwrap();
        fs::create_dir(top.join("old")).unwrap();
        // During a walk: one directory has the flag already, and a file in another one was made after the first walk.
        open(&top.join("new")).set_project(Project { id: ID, inherits: true }).unwrap();
        for name in ["one", "two", "three"] {
            fs::write(top.join("old").join(name), name).unwrap();
        }
        let refused = fs::rename(top.join("old/one"), top.join("new/one")).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::CrossesDevices);
        let refused = fs::hard_link(top.join("old/one"), top.join("new/one")).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::CrossesDevices);
        server::run(Command::new("mv").arg(top.join("old/two")).arg(top.join("new/two")));
        assert_eq!(fs::read_to_string(top.join("new/two")).unwrap(), "two");
        tag(&top, true);
        fs::rename(top.join("old/one"), top.join("new/one")).unwrap();
        fs::hard_link(top.join("old/three"), top.join("new/three")).unwrap();
    }
}

#[tokio::test]
async fn a_file_system_whose_quotas_are_off_is_told() {
    let place = Place::take(&[]).await;
    for (name, make, mount, expected) in [
        ("xfs", "mkfs.xfs -q", "loop", ProjectQuotas::Off),
        ("xfs-counted", "mkfs.xfs -q", "loop,pqnoenforce", ProjectQuotas::Counted),
        ("ext4", "mkfs.ext4 -q", "loop", ProjectQuotas::Off),
        ("ext4-counted", "mkfs.ext4 -q -O project,quota", "loop", ProjectQuotas::Counted),
        ("btrfs", "mkfs.btrfs -q", "loop", ProjectQuotas::Off),
    ] {
        let (image, dir) = (place.dir.join(format!("{name}.image")), place.dir.join(name));
        fs::create_dir(&dir).unwrap();
        fs::File::create(&image).unwrap().set_len(400 * MIB).unwrap();
        let make: Vec<&str> = make.split(' ').collect();
        server::run(Command::new(make[0]).args(&make[1..]).arg(&image));
        server::run(Command::new("mount").args(["-o", mount]).arg(&image).arg(&dir));
        assert_eq!(FileSystem::open(&open(&dir)).unwrap().project_quotas().unwrap(), expected, "{name}");
        // XFS keeps ids without quotas, too, and btrfs has none.
        let set = open(&dir).set_project(Project { id: ID, inherits: true });
        assert_eq!(set.is_ok(), !["ext4", "btrfs"].contains(&name), "{name}: {set:?}");
        let checked = Command::new(BINARY).args(["quota", "check"]).arg(&dir).output().unwrap();
        let said = String::from_utf8(checked.stdout).unwrap();
        let command = format!("umount {0}\n  mount -o prjquota /dev/loop", dir.display());
        let (words, is_there) = match name {
            "btrfs" => ("it limits subvolumes, and a volume is a plain directory", false),
            "ext4" => ("tune2fs -O project,quota -Q prjquota /dev/loop", false),
            _ => (command.as_str(), true),
        };
        assert!(!checked.status.success() && said.contains(words), "{name}: {said}");
        assert_eq!(said.contains(&command), is_there, "{name}: {said}");
        server::run(Command::new("umount").arg(&dir));
        fs::remove_file(image).unwrap();
    }
    let tmpfs = FileSystem::open(&open(&server::exported("/squashed"))).unwrap();
    assert_eq!((tmpfs.kind, tmpfs.project_quotas().unwrap()), (Kind::Tmpfs, ProjectQuotas::Off));
    let refused = open(&server::exported("/squashed")).set_project(Project { id: ID, inherits: true });
    assert!(refused.is_err());
}
