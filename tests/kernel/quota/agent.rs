//! The agent limits volumes to their sizes, and pods see that.

use std::fs;
use std::path::Path;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::Volume;
use nfs_subdir_csi::volume::share::quota::State;

use super::scale::make_in;
use super::server::{
    Agent, MIB, message_of_limit, once, project_of, projects, quota, report, size_in_pod, sized, write_in_pod,
};
use crate::fixture::{Driver, Place, Setup, answer, server, text, until};

/// Every file system, and the oldest and the newest version of NFS.
pub(crate) const PLACES: [(&str, &[&str]); 4] =
    [("/share", &["4.2"]), ("/share", &["3"]), ("/limited", &["4.2"]), ("/limited", &["3"])];

pub(crate) async fn expand(driver: &Driver, volume: &Volume, bytes: u64) -> Result<i64, tonic::Status> {
    let request = proto::ControllerExpandVolumeRequest {
        volume_id: volume.volume_id.clone(),
        capacity_range: Some(proto::CapacityRange {
            required_bytes: i64::try_from(bytes).unwrap(),
            limit_bytes: 0,
        }),
        ..Default::default()
    };
    let answered = answer(driver.controller_client().controller_expand_volume(request)).await;
    answered.map(|answer| answer.capacity_bytes)
}

#[tokio::test]
async fn a_new_volume_has_its_size_and_more_when_it_is_expanded_and_its_project_is_free_when_it_is_deleted() {
    for (share, versions) in PLACES {
        let driver = Driver::start_with(Setup { versions, ..Setup::default() }).await;
        let _agent = Agent::start(share, &["--interval", "1"]);
        until("old projects are free", || projects(share).is_empty()).await;
        let volume = driver.try_create(sized(share, "v", 32 * MIB)).await.unwrap();
        let target = driver.publish(&volume, "a", &[]).await;
        until("the pod sees the size", || size_in_pod(&target) == 32 * MIB).await;
        let refused = write_in_pod(&target.join("file"), 40).unwrap_err();
        assert!(refused.contains(message_of_limit(share)), "{share} {versions:?}: {refused}");
        assert_eq!(expand(&driver, &volume, 64 * MIB).await.unwrap(), i64::try_from(64 * MIB).unwrap());
        until("the pod sees the new size", || size_in_pod(&target) == 64 * MIB).await;
        write_in_pod(&target.join("file"), 40).unwrap();
        until("the usage is reported", || report(share, "v").unwrap().used_bytes >= 40 * MIB).await;
        let told = report(share, "v").unwrap();
        assert_eq!((told.state, told.limit_bytes), (State::Enforced, 64 * MIB), "{told:?}");
        assert_eq!(projects(share), [told.project]);
        driver.unpublish(&volume, &target).await.unwrap();
        driver.delete(&volume).await.unwrap();
        until("the project is free", || projects(share).is_empty()).await;
        assert_eq!(report(share, "v"), None);
    }
}

#[tokio::test]
async fn volumes_that_exist_are_limited_with_their_files_and_one_that_is_over_its_size_is_only_reported() {
    for (share, _) in super::system::SHARES {
        let driver = Driver::start().await;
        let volumes = [
            driver.try_create(sized(share, "fits", 16 * MIB)).await.unwrap(),
            driver.try_create(sized(share, "over", 4 * MIB)).await.unwrap(),
        ];
        let fits = driver.publish(&volumes[0], "a", &[]).await;
        let over = driver.publish(&volumes[1], "b", &[]).await;
        for target in [&fits, &over] {
            fs::create_dir_all(target.join("a/b")).unwrap();
            fs::write(target.join("a/b/file"), vec![1; 8 << 20]).unwrap();
        }
        assert!(once(share, &["--mode", "observe"]).status.success());
        let seen = report(share, "fits").unwrap();
        assert_eq!((seen.state, seen.limit_bytes, seen.used_inodes), (State::Counted, 0, 4));
        assert!((8 * MIB..10 * MIB).contains(&seen.used_bytes), "{seen:?}");
        assert!(once(share, &[]).status.success());
        assert_eq!(report(share, "fits").unwrap().state, State::Enforced);
        assert_eq!(size_in_pod(&fits), 16 * MIB);
        assert!(write_in_pod(&fits.join("more"), 10).unwrap_err().contains(message_of_limit(share)));
        fs::remove_file(fits.join("more")).unwrap();
        let told = report(share, "over").unwrap();
        assert_eq!((told.state, told.limit_bytes), (State::Over, 0));
        assert!(told.message.contains("its size is 4194304"), "{}", told.message);
        write_in_pod(&over.join("more"), 10).unwrap();
        assert!(once(share, &["--limit-over"]).status.success());
        assert_eq!(report(share, "over").unwrap().state, State::Enforced);
        assert_eq!(size_in_pod(&over), 4 * MIB);
        // Each file belongs to the project of its volume.
        let project = project_of(&server::exported(share).join("fits"));
        assert_eq!(project_of(&server::exported(share).join("fits/a/b/file")), project);
        assert_ne!(project_of(&server::exported(share).join("over")), project);
        driver.unpublish(&volumes[0], &fits).await.unwrap();
        driver.unpublish(&volumes[1], &over).await.unwrap();
    }
}

#[tokio::test]
async fn a_deleted_volume_keeps_its_project_in_the_trash_and_an_archive_keeps_it_too() {
    let share = "/share";
    crate::configuration::edits::configure(
        "exports: [{name: x, server: 127.0.0.1, share: /share, trashRetention: 1h}]\ndefaultExport: x\n",
    );
    let driver = Driver::start_with(crate::configuration::edits::WITH_CONFIG).await;
    assert!(once(share, &[]).status.success());
    let mut used = Vec::new();
    for (name, on_delete) in [("t", "delete"), ("a", "archive"), ("r", "retain")] {
        let request = crate::support::create(name, &[("onDelete", on_delete)]);
        let volume = driver.try_create(request).await.unwrap();
        assert!(once(share, &[]).status.success());
        used.push(report(share, name).unwrap().project);
        driver.delete(&volume).await.unwrap();
        assert!(once(share, &[]).status.success());
    }
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 3, "no id was used again");
    assert_eq!(projects(share), used);
    for id in &used {
        assert_eq!(quota(share, *id).limits.bytes, 1 << 30, "the limit stays as long as the directory");
    }
    // A volume that takes a retained directory over has its project, too.
    let before = project_of(&server::exported(share).join("r"));
    driver.try_create(crate::support::create("r", &[("onDelete", "retain")])).await.unwrap();
    assert!(once(share, &[]).status.success());
    assert_eq!(report(share, "r").unwrap().project, before);
}

#[tokio::test]
async fn one_agent_serves_all_shares_of_a_file_system_and_none_of_another_one() {
    let _place = Place::take(&[]).await;
    let (first, second) = (server::exported("/share"), Path::new("/export/second").to_owned());
    fs::create_dir(&second).unwrap();
    for (share, name) in [(&first, "a"), (&second, "b")] {
        make_in(share, std::iter::once(name.to_owned()), 8 * MIB, 2);
    }
    let run = |args: &[&str]| {
        let output =
            std::process::Command::new(crate::fixture::BINARY).arg("quota").args(args).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let shares = ["--share", text(&first), "--share", text(&second)];
    let (good, said) = run(&[&shares[..], &["--once"]].concat());
    assert!(good, "{said}");
    let ids = [first.join("a"), second.join("b")].map(|path| (size_in_pod(&path), project_of(&path)));
    assert_eq!(ids.map(|(size, _)| size), [8 * MIB; 2]);
    assert_ne!(ids[0].1, ids[1].1, "the project ids belong to the file system");
    let (good, said) = run(&[&["status", "--json"], &shares[..]].concat());
    let rows: serde_json::Value = serde_json::from_str(&said).unwrap();
    let of_row = |row: usize| (rows[row]["volume"].as_str(), rows[row]["report"]["limit_bytes"].as_u64());
    assert!(
        good && of_row(0) == (Some("a"), Some(8 * MIB)) && of_row(1) == (Some("b"), Some(8 * MIB)),
        "{said}"
    );
    let other = server::exported("/limited");
    let (good, said) = run(&["--share", text(&first), "--share", text(&other), "--once"]);
    assert!(!good && said.contains("are on different file systems: run one agent for each"), "{said}");
    server::run(std::process::Command::new("rm").arg("-r").arg(&second));
}

#[tokio::test]
async fn only_one_agent_works_on_a_file_system() {
    let driver = Driver::start().await;
    driver.create("v", &[]).await;
    let _agent = Agent::start("/share", &[]);
    until("the agent works", || report("/share", "v").is_some()).await;
    let second = once("/share", &[]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("another agent works on"), "{said}");
    // Another file system has another agent.
    assert!(once("/limited", &[]).status.success());
}

#[tokio::test]
async fn a_file_system_without_project_quotas_is_refused_with_the_commands_that_help() {
    let driver = Driver::start().await;
    let run = |args: &[&str]| {
        let output =
            std::process::Command::new(crate::fixture::BINARY).arg("quota").args(args).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    for (share, words) in
        [("/small", "tune2fs -O project,quota -Q prjquota /dev/loop"), ("/squashed", "tmpfs was not tried")]
    {
        let path = server::exported(share);
        let (good, said) = run(&["check", text(&path)]);
        assert!(!good && said.contains(words), "{said}");
        let (good, said) = run(&["--share", text(&path), "--once"]);
        assert!(!good && said.contains("quota check"), "{said}");
    }
    assert!(run(&["check", "/export/share"]).1.contains("the agent can limit volumes here"));
    assert!(run(&["check", "/export/limited"]).1.contains("does not stop root"));
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    let (good, said) = run(&["check", text(&target)]);
    assert!(!good && said.contains("on the NFS server"), "{said}");
    assert!(Path::new("/export/share/v").exists());
}
