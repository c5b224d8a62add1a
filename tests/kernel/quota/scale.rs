//! An agent that is killed, and an agent with many volumes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nfs_subdir_csi::linux::Dir;
use nfs_subdir_csi::volume::name::handle::VolumeKey;
use nfs_subdir_csi::volume::name::sub_dir::SubDir;
use nfs_subdir_csi::volume::share::claims::Added;
use nfs_subdir_csi::volume::share::quota::State;
use nfs_subdir_csi::volume::share::record::Record;
use nfs_subdir_csi::volume::share::state_dir::StateDir;

use super::server::{Agent, MIB, once, project_of, projects, quota, report};
use crate::fixture::random::{Random, seed};
use crate::fixture::{Place, say, server};

/// Makes volumes on the server, as a controller would.
fn make(share: &str, names: impl Iterator<Item = String>, bytes: u64, files: usize) {
    make_in(&server::exported(share), names, bytes, files);
}

/// The same in any directory.
pub(crate) fn make_in(top: &Path, names: impl Iterator<Item = String>, bytes: u64, files: usize) {
    let state = StateDir::create(&Dir::open(top).unwrap()).unwrap();
    for name in names {
        let record =
            Record { capacity_bytes: bytes, ..Record::new(name.clone(), SubDir::parse(&name).unwrap()) };
        let Added::Made(held) = state.add(&VolumeKey::of_name(&name), &record).unwrap() else {
            panic!("{name}")
        };
        state.keep(&held).unwrap();
        fs::create_dir(top.join(&name)).unwrap();
        for number in 0..files {
            fs::write(top.join(&name).join(format!("file-{number}")), "1").unwrap();
        }
    }
    state.close().unwrap();
}

fn in_trash(share: &str, name: &str) -> PathBuf {
    server::exported(share).join(".nfs-subdir-csi/deleted").join(name)
}

/// Deletes a volume so that its directory stays in a place like the trash.
fn move_away(share: &str, name: &str) {
    let top = server::exported(share);
    fs::rename(top.join(name), in_trash(share, name)).unwrap();
    for entry in top.join(".nfs-subdir-csi/claims").read_dir().unwrap() {
        let path = entry.unwrap().path();
        if fs::read_to_string(&path).is_ok_and(|text| text.contains(&format!("\"{name}\""))) {
            fs::remove_file(path).unwrap();
        }
    }
    fs::remove_file(super::server::record(share, name)).unwrap();
}

#[tokio::test]
async fn after_200_kills_of_the_agent_limits_and_records_agree() {
    let _place = Place::take(&[]).await;
    let seed = seed();
    say(&format!("seed {seed}"));
    let mut random = Random::new(seed);
    for (share, _) in super::system::SHARES {
        kill_200_times(share, &mut random).await;
    }
}

async fn kill_200_times(share: &str, random: &mut Random) {
    let (mut living, mut trash, mut next) = (Vec::new(), Vec::new(), 0);
    for round in 0..200 {
        let mut agent = (round > 0).then(|| Agent::start(share, &["--interval", "1"]));
        let name = format!("v{next}");
        next += 1;
        let files = if random.below(2) == 0 { 0 } else { 20 };
        make(share, std::iter::once(name.clone()), (1 + random.below(64)) * MIB, files);
        living.push(name);
        if living.len() > 12 {
            let index = usize::try_from(random.below(12)).unwrap();
            let name: String = living.swap_remove(index);
            move_away(share, &name);
            trash.push(name);
        }
        if trash.len() > 4 {
            server::run(Command::new("rm").arg("-r").arg(in_trash(share, &trash.remove(0))));
        }
        if let Some(agent) = &mut agent {
            tokio::time::sleep(Duration::from_millis(random.below(120))).await;
            agent.kill();
        }
    }
    // XFS frees the inodes of removed files in the background.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(once(share, &[]).status.success());
    let mut ids = Vec::new();
    for name in &living {
        let text = fs::read_to_string(super::server::record(share, name)).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        let told = report(share, name).unwrap();
        let path = server::exported(share).join(name);
        assert_eq!(told.state, State::Enforced, "{name}: {told:?}");
        assert_eq!(project_of(&path), told.project);
        assert_eq!(
            quota(share, told.project).limits.bytes,
            record["capacity_bytes"].as_u64().unwrap(),
            "{name}"
        );
        for entry in path.read_dir().unwrap() {
            assert_eq!(project_of(&entry.unwrap().path()), told.project, "{name}");
        }
        ids.push(told.project);
    }
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "each volume has its own project: {ids:?}");
    let of_trash = trash.iter().map(|name| project_of(&in_trash(share, name)));
    let mut expected: Vec<u32> = ids.iter().copied().chain(of_trash.filter(|id| *id != 0)).collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(projects(share), expected, "no limit is left of what is gone");
}

#[tokio::test]
async fn ten_thousand_volumes_take_seconds_and_no_memory() {
    let place = Place::take(&[]).await;
    let share = "/share";
    make(share, (0..10_000).map(|number| format!("v{number}")), 64 * MIB, 0);
    let timed = || {
        let begun = Instant::now();
        assert!(once(share, &[]).status.success());
        begun.elapsed()
    };
    let (first, again) = (timed(), timed());
    say(&format!("10,000 volumes: to limit them {first:.1?}; to start when they are limited {again:.1?}"));
    assert_eq!(report(share, "v9999").unwrap().state, State::Enforced);
    assert_eq!(projects(share).len(), 10_000);
    let log = place.dir.join("log");
    let agent = Agent::start_with_log(share, &["--interval", "1"], &log);
    let memory = || {
        let text = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let looks = || -> Vec<serde_json::Value> {
        let log = fs::read_to_string(&log).unwrap();
        let looks = log.lines().filter(|line| line.contains("looked at all volumes"));
        looks.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // It takes memory for what it knows of the volumes until it has looked at all of them.
    let begun = Instant::now();
    while looks().len() < 3 {
        assert!(begun.elapsed() < Duration::from_mins(5), "three looks take so long");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut seen = Vec::new();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        seen.push(memory());
    }
    let looks = looks();
    let seconds = |look: &serde_json::Value| look["seconds"].as_f64().unwrap();
    let short = looks.iter().find(|look| look["unchanged"] == 10_000).expect("nothing has changed");
    say(&format!(
        "looks at all of them while the agent runs: the first {:.1} s, later ones {:.1} s",
        seconds(&looks[0]),
        seconds(short)
    ));
    say(&format!("resident memory of the agent in KiB, every 5 s: {seen:?}"));
    assert!(seen[5] < seen[0] + 1024, "it does not grow: {seen:?}");
}
