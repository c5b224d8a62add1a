//! The PersistentVolumes that take the place of the old ones.

use serde_json::{Map, Value, json};

use crate::volume::volumes::context_of;

use super::plan::{Plan, Row};
use super::rules::Candidate;

/// Names the driver that made a volume and is to delete it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Keeps the old reclaim policy in mind.
const OLD_POLICY: &str = "nfs-subdir.csi.dev/old-reclaim-policy";
/// Annotations that were true of the old object only.
const OF_THE_OLD_OBJECT: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "pv.kubernetes.io/migrated-to"];

/// A `List` for `kubectl apply -f`. As JSON, which leaves no doubt about what is a text: kubectl reads YAML 1.1, where
/// `yes` and `0777` are none. Each has the old one's name and claim: a PersistentVolume cannot be changed in its source,
/// so the old object has to be deleted first.
pub(super) fn list(plan: &Plan, driver: &str) -> anyhow::Result<String> {
    let wanted = plan.rows.iter().filter(|row| row.decision.has_manifest());
    let items: Vec<Value> =
        wanted.filter_map(|row| Some(manifest(row, row.candidate.as_ref()?, driver))).collect();
    Ok(serde_json::to_string_pretty(&json!({ "apiVersion": "v1", "kind": "List", "items": items }))?)
}

fn manifest(row: &Row, candidate: &Candidate, driver: &str) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(candidate.record.name));
    if !row.volume.metadata.labels.is_empty() {
        metadata.insert("labels".to_owned(), json!(row.volume.metadata.labels));
    }
    // Among them those that name the secret for DeleteVolume.
    let mut annotations = row.volume.metadata.annotations.clone();
    annotations.retain(|key, _| !OF_THE_OLD_OBJECT.contains(&key.as_str()));
    annotations.insert(PROVISIONED_BY.to_owned(), driver.to_owned());
    // Nothing is deleted before the operator has seen that all is well: a volume whose claim is gone would be at once.
    let mut spec = row.volume.spec.clone();
    let policy = spec.insert("persistentVolumeReclaimPolicy".to_owned(), json!("Retain"));
    if let Some(policy) = policy.as_ref().and_then(Value::as_str) {
        annotations.insert(OLD_POLICY.to_owned(), policy.to_owned());
    }
    metadata.insert("annotations".to_owned(), json!(annotations));

    let nfs = spec.remove("nfs");
    let csi = spec.remove("csi");
    spec.insert("csi".to_owned(), source(candidate, driver, nfs.as_ref(), csi));
    // The uid stays. The controller binds a claim that was bound before only to a volume that names its very uid.
    if let Some(claim) = spec.get_mut("claimRef").and_then(Value::as_object_mut) {
        claim.remove("resourceVersion");
    }
    json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec })
}

/// The CSI source: the old one's secrets and flags with this driver's handle and attributes.
fn source(candidate: &Candidate, driver: &str, nfs: Option<&Value>, csi: Option<Value>) -> Value {
    let mut source = match csi {
        Some(Value::Object(csi)) => csi,
        _ => Map::new(),
    };
    if nfs.is_some_and(|nfs| nfs["readOnly"] == true) {
        source.insert("readOnly".to_owned(), json!(true));
    }
    let mut attributes = context_of(&candidate.handle, &candidate.record).to_map();
    attributes.extend(candidate.mount_options.clone().map(|options| ("mountOptions".to_owned(), options)));
    source.insert("driver".to_owned(), json!(driver));
    source.insert("volumeHandle".to_owned(), json!(candidate.handle.to_string()));
    source.insert("volumeAttributes".to_owned(), json!(attributes));
    Value::Object(source)
}
