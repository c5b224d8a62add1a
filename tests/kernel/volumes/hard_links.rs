//! An export on a file system that has no hard links: FAT.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tonic::Code;

use super::file_systems::in_version;
use crate::fixture::{Driver, assert_refused, fat, server};

const PATH: &str = "/share/fat";

/// A FAT file system that the server has mounted and exports.
struct Fat(PathBuf);

impl Fat {
    fn export() -> Self {
        let place = server::exported(PATH);
        fs::create_dir_all(&place).unwrap();
        let image = PathBuf::from("/run/fat");
        fat::make(&image);
        server::run(Command::new("modprobe").args(["-a", "vfat", "nls_cp437", "nls_iso8859-1"]));
        let options = ["-t", "vfat", "-o", "loop,iocharset=iso8859-1"];
        server::run(Command::new("mount").args(options).args([&image, &place]));
        let options = "rw,no_root_squash,insecure,no_subtree_check,fsid=91";
        server::run(Command::new("exportfs").args(["-o", options, &format!("*:{}", place.display())]));
        Self(place)
    }
}

impl Drop for Fat {
    fn drop(&mut self) {
        let _ = Command::new("exportfs").args(["-u", &format!("*:{}", self.0.display())]).status();
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_share_without_hard_links_is_refused_with_the_reason_and_nothing_is_left() {
    for version in ["4.2", "3"] {
        let driver = Driver::start().await;
        let fat = Fat::export();
        fs::write(fat.0.join("file"), "it can be written to").unwrap();
        let mut request = in_version("v", version, &[("share", PATH)]);
        request.capacity_range = None;
        let refused = driver.try_create(request).await;
        assert_refused(refused, Code::FailedPrecondition, "has no hard links");
        assert_eq!(server::unfinished(PATH), Vec::<PathBuf>::new());
        let mut left: Vec<_> = fat.0.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".nfs-subdir-csi", "file"], "{version}: no directory of a volume");
        let records = fat.0.join(".nfs-subdir-csi/volumes").read_dir().unwrap().count();
        assert_eq!(records, 0, "{version}");
        drop(driver);
    }
}
