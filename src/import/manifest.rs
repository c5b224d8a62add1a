//! The PersistentVolumes that take the place of the old ones.

use serde_json::{Map, Value, json};

use crate::volume::lookup::context_of;

use super::plan::{Fate, Plan, Row};

/// A `List` for `kubectl apply -f`, as JSON. Each has the old one's name and claim: a PersistentVolume cannot be changed
/// in its source, so the old object has to be deleted first.
pub(super) fn list(plan: &Plan, driver: &str) -> anyhow::Result<String> {
    let wanted = |fate: &Fate| matches!(fate, Fate::Import | Fate::Imported | Fate::AlreadyImported);
    let items: Vec<Value> =
        plan.rows.iter().filter(|row| wanted(&row.fate)).filter_map(|row| manifest(row, driver)).collect();
    Ok(serde_json::to_string_pretty(&json!({ "apiVersion": "v1", "kind": "List", "items": items }))?)
}

fn manifest(row: &Row, driver: &str) -> Option<Value> {
    let candidate = row.candidate.as_ref()?;
    let old = &row.volume.spec;
    let attributes = context_of(&candidate.handle, &candidate.record).to_map();
    let mut spec = Map::new();
    spec.insert("capacity".to_owned(), json!(old.capacity));
    spec.insert("accessModes".to_owned(), json!(old.access_modes));
    // Until the operator has seen that all is well, nothing that is deleted takes data with it.
    let policy = old.persistent_volume_reclaim_policy.as_deref().unwrap_or("Retain");
    spec.insert("persistentVolumeReclaimPolicy".to_owned(), json!(policy));
    let csi = json!({
        "driver": driver,
        "volumeHandle": candidate.handle.to_string(),
        "volumeAttributes": attributes,
    });
    spec.insert("csi".to_owned(), csi);
    spec.extend(old.storage_class_name.as_ref().map(|name| ("storageClassName".to_owned(), json!(name))));
    spec.extend(
        (!old.mount_options.is_empty()).then(|| ("mountOptions".to_owned(), json!(old.mount_options))),
    );
    spec.extend(old.claim_ref.as_ref().map(|claim| ("claimRef".to_owned(), claim_ref(claim))));
    Some(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": candidate.record.name,
            "annotations": { "pv.kubernetes.io/provisioned-by": driver },
        },
        "spec": spec,
    }))
}

/// The claim without what is of one moment only.
fn claim_ref(claim: &Value) -> Value {
    let mut claim = claim.clone();
    if let Some(fields) = claim.as_object_mut() {
        fields.remove("resourceVersion");
    }
    claim
}
