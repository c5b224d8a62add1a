//! SIGKILL at random moments: the export is compared with a model of what the controller has acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use nfs_subdir_csi::csi::proto;
use serde_json::Value;
use tonic::Code;

use crate::fixture::random::{Random, seed};
use crate::fixture::{Driver, Setup, new_volume, say, server, until};

/// Kills in a run. `NFS_SUBDIR_CSI_ROUNDS` sets another number.
const ROUNDS: u64 = 500;
/// A killed controller counts as dead soon.
pub(crate) const SOON: Setup = Setup { args: &["--abandoned-after", "3"], versions: &[] };
/// Number of names of volumes.
const NAMES: u64 = 8;
/// The latest moment of a kill after the beginning of the call, in microseconds. Most calls take less time.
const LATEST_KILL: u64 = 9_000;

/// The expected content of the export.
#[derive(Debug, Default)]
struct Model {
    /// Volumes by name: policy, capacity, and the text of their file.
    volumes: BTreeMap<String, (&'static str, i64, String)>,
    /// The texts of the files of archived volumes.
    archived: BTreeSet<String>,
}

/// A call. It is repeated until there is an answer.
#[derive(Debug, Clone)]
enum Call {
    Create(String, &'static str),
    Delete(String),
    Expand(String, i64),
}

impl Model {
    fn next_call(&self, random: &mut Random) -> Call {
        let name = format!("v{}", random.below(NAMES));
        match self.volumes.get(&name) {
            None => Call::Create(name, ["delete", "archive"][usize::try_from(random.below(2)).unwrap()]),
            Some((_, capacity, _)) if random.below(2) == 0 => Call::Expand(name, capacity + (1 << 20)),
            Some(_) => Call::Delete(name),
        }
    }

    fn apply(&mut self, call: Call, round: u64) {
        match call {
            Call::Create(name, policy) => {
                // Stands for a pod's data, which must stay until the volume is deleted.
                let content = format!("{name} of round {round}");
                fs::write(server::exported("/share").join(&name).join("file"), &content).unwrap();
                self.volumes.insert(name, (policy, 1 << 30, content));
            }
            Call::Delete(name) => {
                let (policy, _, content) = self.volumes.remove(&name).unwrap();
                if policy == "archive" {
                    self.archived.insert(content);
                }
            }
            Call::Expand(name, capacity) => self.volumes.get_mut(&name).unwrap().1 = capacity,
        }
    }

    /// Checks that export and model have the same volumes, archives and records.
    fn compare(&self, when: &str) {
        let share = server::exported("/share");
        let mut archived = BTreeSet::new();
        let mut directories = BTreeSet::new();
        for name in server::entries("/share") {
            let content = fs::read_to_string(share.join(&name).join("file"));
            let content = content.unwrap_or_else(|error| panic!("{when}: {name}: {error}"));
            if name.starts_with("archived-") {
                archived.insert(content);
            } else {
                assert_eq!(self.volumes.get(&name).map(|volume| &volume.2), Some(&content), "{when}: {name}");
                directories.insert(name);
            }
        }
        assert_eq!(archived, self.archived, "{when}: archives");
        assert_eq!(directories, self.volumes.keys().cloned().collect(), "{when}: directories");
        let mut records = BTreeSet::new();
        for entry in share.join(".nfs-subdir-csi/volumes").read_dir().unwrap() {
            let path = entry.unwrap().path();
            let record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let name = record["name"].as_str().unwrap().to_owned();
            let (policy, capacity, _) = self.volumes[&name];
            assert_eq!(record["on_delete"], policy, "{when}: {name}");
            assert_eq!(record["capacity_bytes"], capacity, "{when}: {name}");
            records.insert(name);
        }
        assert_eq!(records, directories, "{when}: records");
    }
}

fn handle(name: &str) -> String {
    format!("{}:/share#{name}", server::NAME)
}

async fn ask(driver: &Driver, call: &Call) -> Result<(), tonic::Status> {
    let mut controller = driver.controller_client();
    match call {
        Call::Create(name, policy) => {
            controller.create_volume(new_volume(name, &[("onDelete", policy)])).await.map(drop)
        }
        Call::Delete(name) => {
            let request = proto::DeleteVolumeRequest { volume_id: handle(name), ..Default::default() };
            controller.delete_volume(request).await.map(drop)
        }
        Call::Expand(name, capacity) => {
            let range = proto::CapacityRange { required_bytes: *capacity, limit_bytes: 0 };
            let request = proto::ControllerExpandVolumeRequest {
                volume_id: handle(name),
                capacity_range: Some(range),
                ..Default::default()
            };
            controller.controller_expand_volume(request).await.map(drop)
        }
    }
}

#[tokio::test]
async fn after_500_kills_the_export_holds_exactly_what_was_acknowledged() {
    let rounds = std::env::var("NFS_SUBDIR_CSI_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    // The same seed gives the same calls. The exact moment of each kill still depends on the machine.
    let seed = seed();
    let (mut random, mut model) = (Random::new(seed), Model::default());
    let mut driver = Driver::start_with(SOON).await;
    // A published volume keeps the connection to the server open, so that starting a controller takes milliseconds.
    let keeper = driver.create("keeper", &[("onDelete", "delete")]).await;
    fs::write(server::exported("/share/keeper/file"), "keeper").unwrap();
    model.volumes.insert("keeper".to_owned(), ("delete", 1 << 30, "keeper".to_owned()));
    let target = driver.publish(&keeper, "keeper", &[]).await;

    let mut interrupted = 0;
    for round in 0..rounds {
        let call = model.next_call(&mut random);
        let context = format!("seed {seed}, round {round}, {call:?}");
        let kill_at = Duration::from_micros(random.below(LATEST_KILL));
        let first = tokio::time::timeout(kill_at, ask(&driver, &call)).await;
        driver.controller.kill();
        driver.start_controller_again().await;
        let answer = if let Ok(answer) = first {
            answer
        } else {
            interrupted += 1;
            ask(&driver, &call).await
        };
        answer.unwrap_or_else(|status| panic!("{context}: {status}"));
        model.apply(call, round);
        if round % 10 == 9 || round + 1 == rounds {
            model.compare(&context);
        }
    }
    say(&format!("{rounds} kills, {interrupted} of them in the middle of a call; seed {seed}"));
    assert!(interrupted > rounds / 10, "too few kills hit a call: {interrupted} of {rounds}");

    // The next call that uses the export continues what the killed controllers left.
    driver.create("last", &[]).await;
    until("nothing unfinished is left", || server::unfinished("/share").is_empty()).await;
    driver.unpublish(&keeper, &target).await.unwrap();
    assert_eq!(ask(&driver, &Call::Expand("none".to_owned(), 1)).await.unwrap_err().code(), Code::NotFound);
}
