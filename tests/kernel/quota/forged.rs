//! Records that no driver has written. Any root client of an export without root squash can forge them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use nfs_subdir_csi::volume::share::quota::State;

use super::server::{MIB, once, project_of, projects, quota, record, report, sized};
use crate::fixture::{Driver, server};

/// Writes a record that names this directory, as a copy of another one.
fn forge(share: &str, key: &str, from: &str, sub_dir: &str, bytes: &str) {
    let text = fs::read_to_string(record(share, from)).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["sub_dir"] = sub_dir.into();
    json["name"] = key.into();
    json["capacity_bytes"] = serde_json::from_str(bytes).unwrap();
    fs::write(record(share, key), json.to_string()).unwrap();
}

/// Gives a forged record the claim of its path, as a client could that knows how the driver names it.
fn claim(share: &str, key: &str, path: &str) {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(path);
    let number = u128::from_be_bytes(digest[..16].try_into().unwrap());
    let place = server::exported(share).join(".nfs-subdir-csi/claims").join(format!("{number:032x}.json"));
    let _ = fs::remove_file(&place);
    fs::hard_link(record(share, key), place).unwrap();
}

#[tokio::test]
async fn forged_records_change_nothing_outside_of_volumes() {
    for (share, _) in super::system::SHARES {
        let driver = Driver::start().await;
        let real = driver.try_create(sized(share, "real", 8 * MIB)).await.unwrap();
        assert!(once(share, &[]).status.success());
        let (top, told) = (server::exported(share), report(share, "real").unwrap());
        fs::create_dir_all(top.join("real/inner")).unwrap();
        fs::create_dir_all(top.join("admin/data")).unwrap();
        symlink("/export/squashed", top.join("link")).unwrap();
        symlink("admin", top.join("inside")).unwrap();
        fs::create_dir(top.join("others")).unwrap();
        server::run(Command::new("xfs_io").args(["-c", "chproj 42"]).arg(top.join("others")));

        let before = projects(share);
        let huge = "9223372036854775808";
        let forged = [
            ("up", "../squashed", "sub-directory"),
            ("absolute", "/etc", "sub-directory"),
            ("state", ".nfs-subdir-csi/volumes", "in the driver's own directory"),
            ("link", "link", "symbolic link"),
            ("through", "inside/data", "symbolic link"),
            ("another", "real", "not its own"),
            ("inner", "real/inner", "inside of it"),
            ("others", "others", "belongs to project 42"),
        ];
        for (key, path, _) in forged {
            forge(share, key, "real", path, huge);
            // All but "another" have a forged claim, too. With that, "another" would be the volume itself.
            if key != "another" {
                claim(share, key, path);
            }
        }
        server::run(Command::new("mknod").arg(record(share, "device")).args(["c", "1", "5"]));
        server::run(Command::new("mkfifo").arg(record(share, "fifo")));
        fs::write(record(share, "text"), "{").unwrap();
        fs::write(record(share, "long"), vec![b' '; 1 << 20]).unwrap();
        fs::create_dir(record(share, "directory")).unwrap();
        symlink("/etc/passwd", record(share, "to-passwd")).unwrap();
        // The folder of the reports can be prepared, too.
        let reports = top.join(".nfs-subdir-csi/quota/volumes");
        fs::create_dir(reports.join(".real.json.new")).unwrap();

        assert!(once(share, &[]).status.success());
        let files = ["device", "fifo", "text", "long", "directory", "to-passwd"].map(|key| (key, "", ""));
        for (key, _, words) in forged.into_iter().chain(files) {
            let told = report(share, key).unwrap();
            assert_eq!((told.state, told.project), (State::Refused, 0), "{key}: {told:?}");
            assert!(told.message.contains(words), "{key}: {}", told.message);
        }
        for path in ["admin", "admin/data", ".nfs-subdir-csi", ".nfs-subdir-csi/volumes", "."] {
            assert_eq!(project_of(&top.join(path)), 0, "{path}");
        }
        assert_eq!(project_of(Path::new("/etc")), 0);
        assert_eq!(project_of(&top.join("others")), 42);
        assert_eq!(project_of(&top.join("real/inner")), told.project);
        assert!(projects(share).iter().all(|id| before.contains(id)), "no project is new");
        assert_eq!(quota(share, told.project).limits.bytes, 8 * MIB);
        fs::remove_dir(reports.join(".real.json.new")).unwrap();

        // A forged size of a real volume is capped by the size of the file system.
        let text = fs::read_to_string(record(share, "real")).unwrap();
        let text =
            text.replace(&format!("\"capacity_bytes\": {}", 8 * MIB), &format!("\"capacity_bytes\": {huge}"));
        fs::write(record(share, "real"), text).unwrap();
        assert!(once(share, &[]).status.success());
        let stat = nix::sys::statvfs::statvfs(&top).unwrap();
        let total = stat.blocks() * stat.fragment_size();
        assert!(quota(share, told.project).limits.bytes <= total + 4096);
        drop(real);
        fs::remove_file(record(share, "device")).unwrap();
    }
}
