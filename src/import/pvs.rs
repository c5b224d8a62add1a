//! PersistentVolumes, from `kubectl get pv -o json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What is read of one PersistentVolume.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PersistentVolume {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) creation_timestamp: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) capacity: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) access_modes: Vec<String>,
    pub(super) persistent_volume_reclaim_policy: Option<String>,
    pub(super) storage_class_name: Option<String>,
    #[serde(default)]
    pub(super) mount_options: Vec<String>,
    /// Kept whole, with the claim's uid: it is what binds the new PersistentVolume to the claim that is there.
    pub(super) claim_ref: Option<Value>,
    pub(super) nfs: Option<Nfs>,
    pub(super) csi: Option<Csi>,
}

/// What the nfs-client provisioner writes.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Nfs {
    pub(super) server: String,
    pub(super) path: String,
}

/// What csi-driver-nfs writes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Csi {
    pub(super) driver: String,
    pub(super) volume_handle: String,
    #[serde(default)]
    pub(super) volume_attributes: BTreeMap<String, String>,
}

impl PersistentVolume {
    /// `namespace/name` of the claim, or nothing.
    pub(super) fn claim(&self) -> String {
        let text = |key: &str| self.spec.claim_ref.as_ref()?.get(key)?.as_str();
        match (text("namespace"), text("name")) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            _ => String::new(),
        }
    }
}

/// The PersistentVolumes in a list, or the one that the file is.
pub(super) fn parse(json: &[u8]) -> anyhow::Result<Vec<PersistentVolume>> {
    let value: Value = serde_json::from_slice(json)?;
    match value.get("items") {
        Some(items) => Ok(serde_json::from_value(items.clone())?),
        None => Ok(vec![serde_json::from_value(value)?]),
    }
}
