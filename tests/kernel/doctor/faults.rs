//! What can be wrong with an export, and the line that says so.

use std::collections::BTreeSet;
use std::process::Command;

use super::planting::{self as plant, Planted, nothing};
use super::{doctor, documented, left, run};
use crate::fixture::{BINARY, Place, mounts, say, server, until};
use crate::overlap::network::{Network, SERVER};

pub(super) const SILENT: u16 = 20_491;
pub(super) const WEB: u16 = 20_492;

/// One fault.
struct Fault {
    /// As docs/COMMANDS.md calls it.
    name: &'static str,
    plant: fn() -> Planted,
    share: &'static str,
    options: &'static str,
    check: &'static str,
    state: &'static str,
    /// In what is found or advised.
    words: &'static [&'static str],
    /// What else is not ok then.
    also: &'static [&'static str],
}

const HEALTHY: Fault = Fault {
    name: "",
    plant: nothing,
    share: "/share",
    options: "",
    check: "",
    state: "fail",
    words: &[],
    also: &[],
};

const FAULTS: [Fault; 28] = [
    Fault {
        name: "a port at which nothing listens",
        options: "port=1",
        check: "port",
        words: &["refused", "start the NFS server"],
        ..HEALTHY
    },
    Fault {
        name: "a server that accepts connections and says nothing",
        plant: plant::silent_port,
        options: "port=20491",
        check: "versions",
        words: &["gives no answer for 5 s"],
        ..HEALTHY
    },
    Fault {
        name: "another program at the port",
        plant: plant::web_server,
        options: "port=20492",
        check: "versions",
        words: &["another program"],
        ..HEALTHY
    },
    Fault {
        name: "a version that the server does not offer",
        plant: plant::only_nfs_3,
        options: "nfsvers=4.2",
        check: "versions",
        words: &["offers NFS 3 to 3", "ask for 4"],
        ..HEALTHY
    },
    Fault {
        name: "a server with NFS 3 only",
        plant: plant::only_nfs_3,
        check: "versions",
        state: "warn",
        words: &["and not 4"],
        also: &["clone", "copy", "user-attributes"],
        ..HEALTHY
    },
    Fault {
        name: "NFS 3 without mountd",
        plant: plant::no_mountd,
        options: "nfsvers=3",
        check: "nfs3-programs",
        words: &["mountd", "or use NFS 4"],
        ..HEALTHY
    },
    Fault {
        name: "a share that does not exist",
        share: "/absent",
        check: "mount",
        words: &["no such share"],
        ..HEALTHY
    },
    Fault {
        name: "a share that is exported to others only",
        plant: plant::exported_to_another,
        options: "nfsvers=3",
        check: "mount",
        words: &["denies access", "export list"],
        ..HEALTHY
    },
    Fault {
        name: "an export that requires Kerberos",
        plant: plant::exported_with_kerberos,
        check: "mount",
        words: &["sec=krb5"],
        ..HEALTHY
    },
    Fault {
        name: "an export that excludes the ports of the client",
        plant: plant::exported_to_secure_ports,
        options: "noresvport",
        check: "mount",
        words: &["remove noresvport"],
        ..HEALTHY
    },
    Fault {
        name: "a mount option that the node does not support",
        options: "context=system_u:object_r:nfs_t:s0",
        check: "mount",
        words: &["SELinux is off"],
        ..HEALTHY
    },
    Fault {
        name: "a mount option that does not exist",
        options: "no-such-option",
        check: "mount-options",
        words: &["no-such-option"],
        ..HEALTHY
    },
    Fault {
        name: "a soft mount",
        options: "soft",
        check: "mount-options",
        state: "warn",
        words: &["makes writes fail", "`hard`"],
        ..HEALTHY
    },
    Fault {
        name: "something else in the place of the state directory",
        plant: plant::state_is_a_link,
        check: "state-directory",
        words: &["symbolic link", "move it away"],
        ..HEALTHY
    },
    Fault {
        name: "other file systems below the share",
        share: "/",
        check: "file-systems-below",
        state: "warn",
        words: &["squashed", "small"],
        ..HEALTHY
    },
    Fault {
        name: "a file system that is nearly full",
        plant: plant::nearly_full,
        share: "/small",
        check: "space",
        state: "warn",
        words: &["make room"],
        also: &["clone"],
        ..HEALTHY
    },
    Fault {
        name: "a file system that is full",
        plant: plant::full,
        share: "/small",
        check: "write",
        words: &["No space left", "make room"],
        also: &["space"],
        ..HEALTHY
    },
    Fault {
        name: "a read-only export",
        share: "/readonly",
        check: "write",
        words: &["Read-only file system", "`rw`"],
        ..HEALTHY
    },
    Fault {
        name: "a server that denies root everything",
        share: "/squashed",
        check: "write",
        words: &["Permission denied", "no_root_squash"],
        ..HEALTHY
    },
    Fault {
        name: "a server that takes root for another user",
        plant: plant::of_nobody,
        share: "/squashed/for-nobody",
        check: "root",
        state: "warn",
        words: &["user 65534", "no_root_squash"],
        also: &["chown", "clone", "fsgroup", "user-attributes"],
        ..HEALTHY
    },
    Fault {
        name: "a server that takes all users for one",
        plant: plant::all_squashed,
        check: "fsgroup",
        state: "warn",
        words: &["all_squash", "user 0"],
        ..HEALTHY
    },
    Fault {
        name: "a server that looks up the groups of users by itself",
        plant: plant::managed_groups,
        check: "fsgroup",
        state: "warn",
        words: &["manage-gids"],
        ..HEALTHY
    },
    Fault {
        name: "a file system without links and owners",
        plant: plant::without_links,
        share: "/fat",
        check: "links",
        words: &["file system with hard links"],
        also: &["access-lists", "chown", "clone", "fsgroup", "user-attributes"],
        ..HEALTHY
    },
    Fault {
        name: "a file system that cannot clone",
        share: "/limited",
        check: "clone",
        state: "warn",
        words: &["reflinks"],
        ..HEALTHY
    },
    Fault {
        name: "a version of NFS without copies by the server",
        options: "nfsvers=4.1",
        check: "copy",
        state: "warn",
        words: &["NFS 4.2"],
        also: &["clone", "user-attributes"],
        ..HEALTHY
    },
    Fault {
        name: "locks that only one node knows",
        options: "nfsvers=3,nolock",
        check: "locks",
        state: "warn",
        words: &["one node only"],
        also: &["clone", "copy", "user-attributes"],
        ..HEALTHY
    },
    Fault {
        name: "NFS 3 without a lock manager",
        plant: plant::no_statd,
        options: "nfsvers=3",
        check: "locks",
        state: "warn",
        words: &["rpc.statd"],
        also: &["clone", "copy", "user-attributes"],
        ..HEALTHY
    },
    Fault {
        name: "a mount without access control lists",
        options: "nfsvers=3,noacl",
        check: "access-lists",
        state: "warn",
        words: &["noacl"],
        also: &["clone", "copy", "user-attributes"],
        ..HEALTHY
    },
];

/// The faults of the other tests here, and of `doctor::an_export_that_stops_to_answer_is_named_within_the_bound`.
const OTHERS: [&str; 4] = [
    "a name that nobody knows",
    "a clock that differs",
    "a network that is slow",
    "a server that stops to answer",
];

#[tokio::test]
async fn each_planted_fault_is_named_and_nothing_else() {
    let _place = Place::take(&[]).await;
    let mut wrong = Vec::new();
    for fault in FAULTS {
        let Fault { name, plant, share, options, check, state, words, also } = fault;
        let planted = plant();
        let mut arguments = vec!["--server", server::NAME, "--share", share];
        if !options.is_empty() {
            arguments.extend(["--mount-options", options]);
        }
        let found = doctor(&arguments);
        // How long operations take depends on how busy the machine is that the guest runs on.
        let troubles: BTreeSet<&str> =
            found.troubles().into_iter().filter(|check| *check != "latency").collect();
        let expected: BTreeSet<&str> = also.iter().copied().chain([check]).collect();
        if !found.names(check, state, words) || troubles != expected {
            wrong.push(format!(
                "{name}: not {check}: {state} with {words:?} and {expected:?}, but {found:#?}"
            ));
        }
        let fails = found.lines.iter().any(|line| line["state"] == "fail");
        assert_eq!(found.code, if fails { 3 } else { 0 }, "{name}");
        assert_eq!(left(), Vec::<String>::new(), "{name}");
        // The server is restarted only while no client has anything mounted.
        until("the client has ended", || mounts::superblocks() == 0).await;
        drop(planted);
        say(&format!("{name}: {:.1} s", found.took.as_secs_f64()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let planted: BTreeSet<String> =
        FAULTS.iter().map(|fault| fault.name).chain(OTHERS).map(str::to_owned).collect();
    assert_eq!(planted, documented("What it finds"));
}

#[tokio::test]
async fn a_name_that_nobody_knows_a_wrong_clock_and_a_slow_network_are_named() {
    let _place = Place::take(&[]).await;
    let found = doctor(&["--server", "no-such-host.test", "--share", "/share"]);
    assert!(found.names("name", "fail", &["no-such-host.test", "/etc/hosts"]), "{found:#?}");
    assert_eq!(found.troubles(), BTreeSet::from(["name"]));

    let planted = plant::wrong_clock();
    let found = doctor(&["--server", server::NAME, "--share", "/old"]);
    assert!(found.names("clock", "warn", &["behind", "synchronise"]), "{found:#?}");
    until("the client has ended", || mounts::superblocks() == 0).await;
    drop(planted);

    let network = Network::make(1);
    network.slow_down(150);
    let mut command: Command = network.command();
    command.arg(BINARY);
    let found = run(command, &["--server", SERVER, "--share", "/share"]);
    assert!(found.names("latency", "warn", &["get attributes", "ping"]), "{found:#?}");
    assert_eq!(found.troubles(), BTreeSet::from(["latency"]), "{found:#?}");
    assert_eq!(left(), Vec::<String>::new());
}
