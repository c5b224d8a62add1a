//! The PersistentVolumes that replace the old ones.

use serde_json::{Map, Value, json};

use crate::volume::volumes::context_of;

use super::plan::{Plan, Row};
use super::rules::Candidate;

/// The annotation that names the driver which created the volume and will delete it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The annotation that keeps the old reclaim policy.
const OLD_POLICY: &str = "nfs-subdir.csi.dev/old-reclaim-policy";
/// Annotations that belong only to the old object.
const OF_THE_OLD_OBJECT: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "pv.kubernetes.io/migrated-to"];

/// A `List` for `kubectl apply -f`. It is JSON, because kubectl reads YAML 1.1, in which `yes` and `0777` without quotes
/// are not texts. Each PersistentVolume has the name and the claim of the old one. The source of a PersistentVolume
/// cannot be changed, so the old object has to be deleted first.
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
    // They include the annotations that name the secret for DeleteVolume.
    let mut annotations = row.volume.metadata.annotations.clone();
    annotations.retain(|key, _| !OF_THE_OLD_OBJECT.contains(&key.as_str()));
    annotations.insert(PROVISIONED_BY.to_owned(), driver.to_owned());
    // With the policy `Delete`, Kubernetes would at once delete a volume whose claim is gone. The operator sets that policy
    // again after having seen that everything works.
    let mut spec = row.volume.spec.clone();
    let policy = spec.insert("persistentVolumeReclaimPolicy".to_owned(), json!("Retain"));
    if let Some(policy) = policy.as_ref().and_then(Value::as_str) {
        annotations.insert(OLD_POLICY.to_owned(), policy.to_owned());
    }
    metadata.insert("annotations".to_owned(), json!(annotations));

    let nfs = spec.remove("nfs");
    let csi = spec.remove("csi");
    spec.insert("csi".to_owned(), source(candidate, driver, nfs.as_ref(), csi));
    // The uid stays: Kubernetes binds a claim that was bound before only to a volume that names the uid of the claim.
    if let Some(claim) = spec.get_mut("claimRef").and_then(Value::as_object_mut) {
        claim.remove("resourceVersion");
    }
    json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec })
}

/// The CSI source: the secrets and flags of the old source, with the handle and attributes of this driver.
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
