//! Where the server's statfs does not show limits, the agent's word counts, and nowhere else.
//!
//! The kernel's server shows a limit only for directories with the flag of their project. So a server that shows the whole file system
//! everywhere, as nfs-ganesha does, is made by taking the flag away from the directory of the volume and from the agent's sample.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use tonic::Code;

use super::driver::{create, expecting, sized};
use super::server::{Agent, MIB, report, size_in_pod, write_in_pod};
use crate::fixture::{assert_refused, server, until};
use crate::publish::stats::usage;

/// From now on, the server shows the whole file system for this directory.
fn show_no_limit(path: &Path) {
    assert!(size_in_pod(path) < 512 * MIB);
    server::run(Command::new("xfs_io").args(["-c", "chattr -P"]).arg(path));
    assert!(size_in_pod(path) > 512 * MIB);
}

#[tokio::test]
async fn where_the_server_shows_no_limits_the_word_of_the_agent_counts_for_its_directory_and_elsewhere_it_does_not()
 {
    for (share, versions) in super::agent::PLACES {
        let driver = expecting("required", share, versions).await;
        let mut agent = Agent::start(share, &["--interval", "1"]);
        let volume = create(&driver, sized("v", 32)).await;
        let target = driver.publish(&volume, "a", &[]).await;
        write_in_pod(&target.join("file"), 5).unwrap();
        until("the usage is reported", || report(share, "v").unwrap().used_bytes >= 5 * MIB).await;
        agent.kill();
        let of_pod = async || usage(&driver, &volume.volume_id, target.to_str().unwrap()).await[0];
        let shown = of_pod().await;
        assert_eq!(shown.0, 32 << 20, "{shown:?}");

        // The server can show limits, as the sample tells. So what it shows counts, whatever the agent has written.
        let exported = server::exported(share);
        show_no_limit(&exported.join("v"));
        assert_refused(driver.try_create(sized("v", 32)).await, Code::Aborted, "is not limited to 33554432");

        // It cannot.
        show_no_limit(&exported.join(".nfs-subdir-csi/quota/sample"));
        assert!(size_in_pod(&target) > 512 * MIB, "a pod sees the whole file system");
        driver.try_create(sized("v", 32)).await.unwrap();
        let counted = of_pod().await;
        assert_eq!(counted.0, 32 << 20, "{counted:?}");
        assert!((5 << 20..10 << 20).contains(&counted.1), "{counted:?}");
        assert_eq!(counted.1 + counted.2, 32 << 20, "{counted:?}");

        // The word is about a directory, not about a name.
        fs::rename(exported.join("v"), exported.join("w")).unwrap();
        fs::create_dir(exported.join("v")).unwrap();
        assert_refused(driver.try_create(sized("v", 32)).await, Code::Aborted, "is not limited to 33554432");
        fs::remove_dir(exported.join("v")).unwrap();
        fs::rename(exported.join("w"), exported.join("v")).unwrap();

        // What an agent has counted that has been silent for long is not used.
        let sign = exported.join(".nfs-subdir-csi/quota/agent.json");
        let hour_ago = SystemTime::now() - Duration::from_hours(1);
        fs::File::options().append(true).open(sign).unwrap().set_modified(hour_ago).unwrap();
        let old = of_pod().await;
        assert!(old.0 > 512 << 20, "{old:?}");

        // The agent sets both flags again.
        let _agent = Agent::start(share, &["--interval", "1"]);
        until("the server shows limits again", || {
            size_in_pod(&target) == 32 * MIB
                && size_in_pod(&exported.join(".nfs-subdir-csi/quota/sample")) == MIB
        })
        .await;
        driver.unpublish(&volume, &target).await.unwrap();
    }
}

#[tokio::test]
async fn without_a_living_agent_calls_that_need_it_hardly_delay_others_on_the_export() {
    let driver = expecting("required", "/share", &[]).await;
    let mut agent = Agent::start("/share", &[]);
    let volume = create(&driver, sized("v", 32)).await;
    agent.kill();
    let sign = server::exported("/share").join(".nfs-subdir-csi/quota/agent.json");
    let minute_ago = SystemTime::now() - Duration::from_mins(1);
    fs::File::options().append(true).open(sign).unwrap().set_modified(minute_ago).unwrap();
    // More calls than the export has places.
    let mut creates = tokio::task::JoinSet::new();
    for number in 0..40 {
        let (mut client, request) = (driver.controller_client(), sized(&format!("more-{number}"), 5));
        creates.spawn(async move { client.create_volume(request).await });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    driver.delete(&volume).await.unwrap();
    let other = begun.elapsed();
    for refused in creates.join_all().await {
        assert_refused(refused, Code::Aborted, "gave its last sign of life");
    }
    assert!(other < Duration::from_secs(20), "it waited for {other:?}");
    crate::fixture::say(&format!("a call beside 40 that need a silent agent took {other:.1?}"));
}
