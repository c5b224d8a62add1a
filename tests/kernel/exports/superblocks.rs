//! Two mounts of one export with different options. The kernel gives both the same superblock, with the options of the first
//! mount, unless they differ in an option that it compares (`nfs_compare_mount_options`). docs/PARAMETERS.md lists these
//! options.

use std::path::Path;

use crate::fixture::mounts::{self, Mount};
use crate::fixture::{Driver, by_hand, server};

/// Options that the kernel does not compare, each with what the mount table shows for the first mount.
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
/// Options that the kernel compares, as the mount table shows them.
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
/// Options of the locking and access list protocols, which are separate protocols for NFS 3 only.
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
        assert_eq!(second.device, first.device, "{version}: with {option} the superblock is not shared");
        let shown = shown.unwrap_or(option);
        let has = second.options.iter().any(|own| own == shown);
        assert_eq!(has, shown != *option, "{version},{option}: {:?}", second.options);
    }
    for option in own_counts {
        let own = publish(&driver, &[version, option]).await;
        assert_ne!(own.device, first.device, "{version}: with {option} the superblock is shared");
        assert!(own.options.iter().any(|has| has == option), "{version},{option}: {:?}", own.options);
    }
}

#[tokio::test]
async fn nfs_4_mounts_that_differ_only_in_timing_use_the_options_of_the_first() {
    let ignored = OF_NFS_3.map(|option| (option, None));
    check("vers=4.2", &[&FIRST_COUNTS[..], &ignored].concat(), &OWN_COUNTS).await;
}

#[tokio::test]
async fn nfs_3_mounts_that_differ_only_in_timing_use_the_options_of_the_first() {
    check("vers=3", &FIRST_COUNTS, &[&OWN_COUNTS[..], &OF_NFS_3].concat()).await;
}

/// With NFS 4 the client mounts the root of the server and walks to the export.
#[tokio::test]
async fn with_nfs_4_the_timing_of_the_first_mount_applies_to_other_exports_of_the_server() {
    let driver = Driver::start().await;
    let made = server::exported("/small/v");
    std::fs::create_dir(&made).unwrap();
    let small = by_hand(server::NAME, "/small", "v");
    for (version, nfs_4) in [("vers=4.2", true), ("vers=3", false)] {
        // `acregmin` distinguishes this mount from the controller's, which is older.
        let first = publish(&driver, &[version, "acregmin=7", "timeo=300"]).await;
        let target = driver.publish(&small, version, &[version, "acregmin=7", "timeo=400"]).await;
        let other = mounted(&target);
        assert_ne!(other.device, first.device);
        let shown = [first.option("timeo"), other.option("timeo")];
        assert_eq!(shown, [Some("300"), Some(if nfs_4 { "300" } else { "400" })], "{version}");
    }
}

#[tokio::test]
async fn a_mount_with_nosharecache_has_its_own_timing_and_the_same_connections() {
    let driver = Driver::start().await;
    let first = publish(&driver, &["vers=4.2"]).await;
    let own = publish(&driver, &["vers=4.2", "timeo=300,retrans=5,nconnect=4,nosharecache"]).await;
    assert_ne!(own.device, first.device);
    assert_eq!((own.option("timeo"), own.option("retrans")), (Some("300"), Some("5")));
    assert_eq!(own.option("nconnect"), None, "connections belong to the server, not to the mount");
}

#[tokio::test]
async fn options_without_effect_on_nfs_are_accepted() {
    let driver = Driver::start().await;
    let first = publish(&driver, &[]).await;
    for flags in ["noatime", "nodiratime,relatime", "bg,retry=2,_netdev", "intr", "async", "nolock,tcp"] {
        assert_eq!(publish(&driver, &[flags]).await.device, first.device, "{flags}");
    }
}
