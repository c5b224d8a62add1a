//! docs/QUOTA.md: its commands, and what the unit file of systemd allows.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use nfs_subdir_csi::volume::share::quota::State;

use super::scale::make_in;
use super::server::{MIB, arguments, report, size_in_pod};
use crate::fixture::{BINARY, Driver, Place, server};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn said(output: &Output) -> String {
    [output.stdout.as_slice(), output.stderr.as_slice()]
        .concat()
        .iter()
        .map(|byte| char::from(*byte))
        .collect()
}

#[tokio::test]
async fn the_commands_of_the_document_lead_from_nothing_to_limits() {
    let place = Place::take(&[]).await;
    let document = read("docs/QUOTA.md");
    let commands = document.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let commands: Vec<&str> = commands.lines().collect();
    assert_eq!(commands.len(), 5, "{commands:?}");

    // The server of the document: an XFS without quotas on /dev/sdb1, mounted at /srv, with the exported directory /srv/k8s.
    let image = place.dir.join("sdb1");
    fs::File::create(&image).unwrap().set_len(400 * MIB).unwrap();
    server::run(Command::new("mkfs.xfs").arg("-q").arg(&image));
    let device = server::run(Command::new("losetup").args(["-f", "--show"]).arg(&image));
    symlink(device.trim(), "/dev/sdb1").unwrap();
    server::run(Command::new("mount").args(["/dev/sdb1", "/srv"]));
    fs::create_dir("/srv/k8s").unwrap();
    make_in(Path::new("/srv/k8s"), std::iter::once("v".to_owned()), 64 * MIB, 3);
    let bin = place.dir.join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(BINARY, bin.join("nfs-subdir-csi")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());

    let outputs: Vec<Output> = commands
        .iter()
        .map(|command| Command::new("sh").args(["-c", command]).env("PATH", &path).output().unwrap())
        .collect();
    let first = said(&outputs[0]);
    assert!(!outputs[0].status.success() && first.contains("  mount -o prjquota "), "{first}");
    for (command, output) in commands.iter().zip(&outputs).skip(1) {
        assert!(output.status.success(), "{command}: {}", said(output));
    }
    let last = said(&outputs[4]);
    assert!(last.contains(concat!("agent ", env!("CARGO_PKG_VERSION"), ", mode enforce")), "{last}");
    assert!(last.lines().any(|line| line.contains("67108864") && line.ends_with("enforced")), "{last}");
    assert_eq!(size_in_pod(Path::new("/srv/k8s/v")), 64 * MIB);

    server::run(Command::new("umount").arg("/srv"));
    server::run(Command::new("losetup").args(["-d", device.trim()]));
    fs::remove_file("/dev/sdb1").unwrap();
}

#[tokio::test]
async fn the_capabilities_of_the_unit_file_are_enough() {
    let unit = read("deploy/quota/nfs-subdir-csi-quota.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let kept: Vec<String> =
        line.split(' ').map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase())).collect();
    let driver = Driver::start().await;
    let share = "/share";
    let volume = driver.create("v", &[("uid", "1000"), ("mountPermissions", "0700")]).await;
    let directory = server::directory(&volume);
    for name in ["dir", "dir/file"] {
        let path = directory.join(name);
        if name == "dir" {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, "1").unwrap();
        }
        std::os::unix::fs::chown(&path, Some(1000), Some(1000)).unwrap();
        server::run(Command::new("chmod").arg("0700").arg(&path));
    }
    let run = |kept: &str| {
        let own = ["--no-new-privs".to_owned(), format!("--bounding-set=-all,{kept}"), BINARY.to_owned()];
        Command::new("setpriv").args(own).args(arguments(share, &["--once"])).output().unwrap()
    };
    let output = run(&kept.join(","));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(report(share, "v").unwrap().state, State::Enforced, "{}", said(&output));
}
