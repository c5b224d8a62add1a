//! `nfs-subdir-csi doctor`, on a healthy export, with each of many planted faults, and on an export that stops to answer.

mod faults;
mod planting;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::{Place, binary, mounts, say, server, until};
use crate::overlap::network::{Network, SERVER};

const STATE: &str = "/run/doctor";
const OF_SHARE: [&str; 4] = ["--server", server::NAME, "--share", "/share"];
/// The limit of a look that hangs, with what the process may need besides.
const BOUND: Duration = Duration::from_secs(30);

/// What a run has found.
#[derive(Debug)]
struct Findings {
    lines: Vec<Value>,
    code: i32,
    took: Duration,
}

impl Findings {
    /// The checks whose state is not ok.
    fn troubles(&self) -> BTreeSet<&str> {
        let wrong = self.lines.iter().filter(|line| line["state"] != "ok");
        wrong.map(|line| line["check"].as_str().unwrap()).collect()
    }

    fn checks(&self) -> BTreeSet<&str> {
        self.lines.iter().map(|line| line["check"].as_str().unwrap()).collect()
    }

    /// Whether a line of this check has this state, and all these words in what it has found or advises.
    fn names(&self, check: &str, state: &str, words: &[&str]) -> bool {
        self.lines.iter().any(|line| {
            let text = format!("{} {}", line["found"], line["advice"]);
            line["check"] == check && line["state"] == state && words.iter().all(|word| text.contains(word))
        })
    }
}

/// Runs the command, by itself or as the end of another one.
fn run(mut command: Command, arguments: &[&str]) -> Findings {
    command.args(["doctor", "--json", "--state-dir", STATE]).args(arguments);
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let took = begun.elapsed();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    let lines: Vec<Value> = lines.collect();
    assert!(!lines.is_empty() && errors.is_empty(), "{arguments:?}: {errors}");
    for line in &lines {
        assert_eq!(line["state"] == "ok", line["advice"].is_null(), "{line}: what is wrong has an advice");
    }
    Findings { lines, code: output.status.code().unwrap(), took }
}

fn doctor(arguments: &[&str]) -> Findings {
    run(Command::new(binary()), arguments)
}

/// What runs have left on the shares.
fn left() -> Vec<String> {
    let shares = ["/share", "/small", "/limited", "/squashed", "/readonly", "/"].map(server::exported);
    let entries = shares.iter().flat_map(|share| share.read_dir().into_iter().flatten());
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".nfs-subdir-csi-doctor.")).collect()
}

/// The first cells of the table in a section of docs/COMMANDS.md.
fn documented(heading: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/COMMANDS.md")).unwrap();
    let (_, section) = text.split_once(&format!("\n### {heading}\n")).unwrap();
    let section = section.split("\n##").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| row.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned()).collect()
}

#[tokio::test]
async fn on_a_healthy_export_all_is_well_and_nothing_is_left() {
    let _place = Place::take(&[]).await;
    let before = server::entries("/share");
    let found = doctor(&OF_SHARE);
    assert_eq!((found.troubles(), found.code), (BTreeSet::new(), 0), "{found:#?}");
    say(&format!("a healthy export: {} lines in {:.1} s", found.lines.len(), found.took.as_secs_f64()));
    let latency: Vec<&Value> = found.lines.iter().filter(|line| line["check"] == "latency").collect();
    assert_eq!(latency.len(), 6);
    for line in latency {
        let [half, most, nearly_all] =
            ["p50Milliseconds", "p90Milliseconds", "p99Milliseconds"].map(|key| line[key].as_f64().unwrap());
        assert!(0.0 < half && half <= most && most <= nearly_all, "{line}");
    }
    assert_eq!((server::entries("/share"), left()), (before, Vec::new()));
    assert_eq!(mounts::superblocks(), 0);

    // Exactly the checks are documented. One of them is for NFS 3 only.
    let of_nfs_3 = doctor(&[&OF_SHARE[..], &["--mount-options", "nfsvers=3"]].concat());
    let checks: BTreeSet<String> =
        found.checks().union(&of_nfs_3.checks()).map(|check| (*check).to_owned()).collect();
    assert_eq!(checks, documented("What is looked at"));

    let mut command = Command::new(binary());
    let output = command.args(["doctor", "--state-dir", STATE]).args(OF_SHARE).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("nfs-server:/share\nok    configuration"), "{text}");
    assert!(text.lines().skip(1).all(|line| line.starts_with("ok    ")), "{text}");
}

#[tokio::test]
async fn an_export_that_stops_to_answer_is_named_within_the_bound() {
    let _place = Place::take(&[]).await;
    let network = Network::make(1);
    // So that a run takes long enough.
    network.slow_down(20);
    let mut command = network.command();
    command.args([
        binary(),
        "doctor",
        "--json",
        "--state-dir",
        STATE,
        "--server",
        SERVER,
        "--share",
        "/share",
    ]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = Vec::new();
    let mut silent_since = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["check"] == "write" {
            network.lose_replies(true);
            silent_since = Some(Instant::now());
        }
        lines.push(line);
    }
    let took = silent_since.expect("it has written").elapsed();
    let status = child.wait().unwrap();
    assert!(took < BOUND, "{took:?}");
    say(&format!("it gave an export up that hung {:.1} s after the last reply", took.as_secs_f64()));
    let last = lines.last().unwrap();
    assert_eq!((&last["state"], status.code()), (&"fail".into(), Some(3)), "{lines:#?}");
    assert!(last["found"].as_str().unwrap().contains("no answer for 20 s"), "{last}");

    network.lose_replies(false);
    until("the client has ended", || mounts::superblocks() == 0).await;
    // What it has left is removed by a later run, and what is young may belong to one that still works.
    let [name] = &left()[..] else { panic!("it has made one directory: {:?}", left()) };
    doctor(&OF_SHARE);
    assert_eq!(&left(), std::slice::from_ref(name));
    server::run(Command::new("touch").args(["-d", "1 hour ago"]).arg(server::exported("/share").join(name)));
    doctor(&OF_SHARE);
    assert_eq!(left(), Vec::<String>::new());
}

#[tokio::test]
async fn all_exports_of_a_configuration_are_examined_and_one_server_of_two_is_enough() {
    let _place = Place::take(&[]).await;
    let config = "/run/doctor.yaml";
    fs::write(
        config,
        "exports:\n  - {name: fast, servers: [no-such-host.test, 127.0.0.1], share: /share}\n  - {name: absent, server: 127.0.0.1, share: /absent}\n\
         inline: {servers: [10.0.0.0/8]}\n",
    )
    .unwrap();
    let found = doctor(&["--config", config]);
    assert!(found.names("name", "warn", &["no-such-host.test"]), "{found:#?}");
    assert!(found.names("mount", "fail", &["127.0.0.1:/absent"]), "{found:#?}");
    let of_fast = found.lines.iter().filter(|line| line["export"] == "fast");
    assert!(of_fast.clone().all(|line| line["state"] != "fail") && of_fast.count() > 20);
    assert_eq!(found.code, 3);
    let one = doctor(&["--config", config, "--export", "fast"]);
    assert_eq!((one.troubles(), one.code), (BTreeSet::from(["name"]), 0), "{one:#?}");
    // A server that the driver would refuse is examined if it is asked for.
    let other = doctor(&[&["--config", config][..], &OF_SHARE].concat());
    assert_eq!((other.troubles(), other.code), (BTreeSet::from(["configuration"]), 0), "{other:#?}");

    let none = Command::new(binary()).args(["doctor", "--state-dir", STATE]).output().unwrap();
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("--server and --share"));
}
