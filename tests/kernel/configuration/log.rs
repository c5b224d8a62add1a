//! The log of a running service: its level, which the configuration changes, and its lines as JSON.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::edits::{configure, fast_at, of_default_export};
use crate::fixture::{BINARY, Place, text, until};
use crate::support::{Client, Service};

struct Log(PathBuf);

impl Log {
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    fn count(&self, is_one: impl Fn(&Value) -> bool) -> usize {
        self.lines().iter().filter(|line| is_one(line)).count()
    }

    /// Calls until lines of one kind appear, or until they appear no more.
    async fn until_calls(&self, client: &mut Client, appear: bool, is_one: impl Fn(&Value) -> bool) {
        for number in 0..100 {
            let before = self.count(&is_one);
            let request = of_default_export(&format!("v-{number}"));
            client.controller.create_volume(request).await.unwrap();
            if (self.count(&is_one) > before) == appear {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the new level is not in force: {:?}", self.lines().last());
    }
}

fn is_call(line: &Value) -> bool {
    line["rpc"].is_string() && line["ms"].is_number()
}

fn is_request(line: &Value) -> bool {
    line["level"] == "DEBUG" && line["message"] == "request"
}

/// The fields that docs/TROUBLESHOOTING.md gives the line of a call.
fn documented() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/TROUBLESHOOTING.md")).unwrap();
    let (_, section) = text.split_once("\n## The log\n").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_level_follows_the_configuration_and_the_fields_of_a_call_are_documented() {
    let export = fast_at("127.0.0.1", "/share");
    configure(&export);
    let place = Place::take(&[]).await;
    let log = Log(place.dir.join("log"));
    let state = place.dir.join("controller");
    let config = ["--config", "/run/test-config/config.yaml", "--log-format", "json", "--log-level", "info"];
    let args = [&["--state-dir", text(&state)][..], &config].concat();
    let mut service = Service::start_logged(Path::new(BINARY), "controller", &place.dir, &args, &log.0);
    let mut client = service.client().await;

    log.until_calls(&mut client, true, is_call).await;
    client.controller.create_volume(of_default_export("")).await.unwrap_err();
    let mut gone = client.clone();
    let abandoned = gone.controller.create_volume(of_default_export("gone"));
    let _ = tokio::time::timeout(std::time::Duration::from_millis(1), abandoned).await;
    until("the lines of all calls", || log.count(is_call) >= 3).await;
    assert_eq!(log.count(is_request), 0, "a request has the level debug");
    let lines = log.lines();
    let calls = lines.iter().filter(|line| is_call(line));
    let mut fields: BTreeSet<String> =
        calls.flat_map(|line| line.as_object().unwrap().keys().cloned()).collect();
    // The guest is slow, but not always slow enough.
    fields.insert("slow".to_owned());
    assert_eq!(fields, documented());
    let failed = lines.iter().find(|line| line["code"] == "InvalidArgument").unwrap();
    assert_eq!((&failed["level"], &failed["rpc"]), (&"WARN".into(), &"CreateVolume".into()));

    configure(&format!("{export}logLevel: debug\n"));
    log.until_calls(&mut client, true, is_request).await;
    configure(&format!("{export}logLevel: error\n"));
    log.until_calls(&mut client, false, is_call).await;
    // A mistake changes nothing, and is logged as an error.
    configure(&format!("{export}logLevel: verbose\n"));
    until("the mistake is logged", || log.count(|line| line["level"] == "ERROR") > 0).await;
    log.until_calls(&mut client, false, is_call).await;
    configure(&export);
    log.until_calls(&mut client, true, is_call).await;
    assert_eq!(log.count(|line| line["message"] == "serving"), 1, "it was not started again");
    service.kill();
}
