//! An export on a file system that has no hard links: FAT.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use tonic::Code;

use super::file_systems::in_version;
use crate::fixture::{Driver, assert_refused, server};

const PATH: &str = "/share/fat";
const SECTOR: u64 = 512;
const SECTORS: u16 = 32_768;
const SECTORS_OF_A_TABLE: u16 = 32;

/// A FAT file system that the server has mounted and exports.
struct Fat(PathBuf);

impl Fat {
    fn export() -> Self {
        let place = server::exported(PATH);
        fs::create_dir_all(&place).unwrap();
        let image = PathBuf::from("/run/fat");
        make_fat(&image);
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

/// Writes an empty FAT16 file system of 16 MiB, since mkfs.vfat may not be installed. Two tables follow the first sector.
fn make_fat(image: &PathBuf) {
    let mut boot = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, 0x3c, 0x90]);
    put(3, b"MSDOS5.0");
    put(11, &512_u16.to_le_bytes()); // bytes of a sector
    put(13, &[4]); // sectors of a cluster
    put(14, &1_u16.to_le_bytes()); // sectors before the tables
    put(16, &[2]); // tables
    put(17, &512_u16.to_le_bytes()); // entries of the top directory
    put(19, &SECTORS.to_le_bytes());
    put(21, &[0xf8]); // a disk
    put(22, &SECTORS_OF_A_TABLE.to_le_bytes());
    put(38, &[0x29]); // the next three fields exist
    put(43, b"NO NAME    ");
    put(54, b"FAT16   ");
    put(510, &[0x55, 0xaa]);
    let file = File::create(image).unwrap();
    file.set_len(u64::from(SECTORS) * SECTOR).unwrap();
    file.write_all_at(&boot, 0).unwrap();
    for table in [1, 1 + SECTORS_OF_A_TABLE] {
        file.write_all_at(&[0xf8, 0xff, 0xff, 0xff], u64::from(table) * SECTOR).unwrap();
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
