//! Which options of two mounts of one export count: the kernel gives them one superblock unless they differ in what it
//! compares (`nfs_compare_mount_options`), and then the first mount's options are those of both. docs/PARAMETERS.md says
//! which.

use std::path::Path;

use crate::fixture::mounts::{self, Mount};
use crate::fixture::{Driver, by_hand, server};

/// Each with the value that the first mount gives it, as the mount table shows it.
const FIRST_COUNTS: [(&str, Option<&str>); 8] = [
    ("timeo=300", Some("timeo=600")),
    ("retrans=5", Some("retrans=2")),
    ("nconnect=4", None),
    ("max_connect=4", None),
    ("noresvport", None),
    ("fsc", None),
    ("namlen=100", Some("namlen=255")),
    ("bsize=4096", None),
];
/// What the mount table shows of an option that counts.
const OWN_COUNTS: [&str; 18] = [
    "soft",
    "softerr",
    "softreval",
    "noac",
    "acregmin=7",
    "acregmax=61",
    "acdirmin=31",
    "acdirmax=62",
    "rsize=65536",
    "wsize=65536",
    "lookupcache=none",
    "lookupcache=pos",
    "nocto",
    "nordirplus",
    "nosharecache",
    "write=eager",
    "posix",
    "sync",
];
/// Options of the locks and of access lists: NFS 4 has neither beside itself.
const OF_NFS_3: [&str; 4] = ["nolock", "local_lock=flock", "local_lock=all", "noacl"];

fn mounted(target: &Path) -> Mount {
    mounts::at(target).pop().unwrap()
}

async fn publish(driver: &Driver, flags: &[&str]) -> Mount {
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, &flags.join("-"), flags).await;
    mounted(&target)
}

async fn check(version: &str, first_counts: &[(&str, Option<&str>)], own_counts: &[&str]) {
    let driver = Driver::start().await;
    let first = publish(&driver, &[version]).await;
    for (option, shown) in first_counts {
        let second = publish(&driver, &[version, option]).await;
        assert_eq!(second.device, first.device, "{version}: {option} makes a superblock of its own");
        let shown = shown.unwrap_or(option);
        let has = second.options.iter().any(|own| own == shown);
        assert_eq!(has, shown != *option, "{version},{option}: {:?}", second.options);
    }
    for option in own_counts {
        let own = publish(&driver, &[version, option]).await;
        assert_ne!(own.device, first.device, "{version}: {option} shares a superblock");
        assert!(own.options.iter().any(|has| has == option), "{version},{option}: {:?}", own.options);
    }
}

#[tokio::test]
async fn of_two_mounts_with_nfs_4_that_differ_in_timing_the_first_ones_counts() {
    let ignored = OF_NFS_3.map(|option| (option, None));
    check("vers=4.2", &[&FIRST_COUNTS[..], &ignored].concat(), &OWN_COUNTS).await;
}

#[tokio::test]
async fn of_two_mounts_with_nfs_3_that_differ_in_timing_the_first_ones_counts() {
    check("vers=3", &FIRST_COUNTS, &[&OWN_COUNTS[..], &OF_NFS_3].concat()).await;
}

/// The client mounts the server's root for itself and walks from there.
#[tokio::test]
async fn with_nfs_4_the_first_mounts_timing_holds_for_other_exports_of_its_server() {
    let driver = Driver::start().await;
    let made = server::exported("/small/v");
    std::fs::create_dir(&made).unwrap();
    let small = by_hand(server::NAME, "/small", "v");
    for (version, nfs_4) in [("vers=4.2", true), ("vers=3", false)] {
        // Unlike the controller's own mount, which was there first.
        let first = publish(&driver, &[version, "acregmin=7", "timeo=300"]).await;
        let target = driver.publish(&small, version, &[version, "acregmin=7", "timeo=400"]).await;
        let other = mounted(&target);
        assert_ne!(other.device, first.device);
        let shown = [first.option("timeo"), other.option("timeo")];
        assert_eq!(shown, [Some("300"), Some(if nfs_4 { "300" } else { "400" })], "{version}");
    }
}

#[tokio::test]
async fn a_mount_that_does_not_share_has_timing_of_its_own_and_the_same_connections() {
    let driver = Driver::start().await;
    let first = publish(&driver, &["vers=4.2"]).await;
    let own = publish(&driver, &["vers=4.2", "timeo=300,retrans=5,nconnect=4,nosharecache"]).await;
    assert_ne!(own.device, first.device);
    assert_eq!((own.option("timeo"), own.option("retrans")), (Some("300"), Some("5")));
    assert_eq!(own.option("nconnect"), None, "connections belong to the server, not to the mount");
}

#[tokio::test]
async fn options_that_have_no_effect_on_nfs_are_taken_as_other_provisioners_take_them() {
    let driver = Driver::start().await;
    let first = publish(&driver, &[]).await;
    for flags in ["noatime", "nodiratime,relatime", "bg,retry=2,_netdev", "intr", "async", "nolock,tcp"] {
        assert_eq!(publish(&driver, &[flags]).await.device, first.device, "{flags}");
    }
}
