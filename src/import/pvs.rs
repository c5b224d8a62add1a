//! Reads PersistentVolumes from the output of `kubectl get pv -o json`.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A PersistentVolume: the fields that the import uses, and the whole `spec`, which the new PersistentVolume gets.
#[derive(Debug, Clone)]
pub(super) struct PersistentVolume {
    pub(super) metadata: Metadata,
    pub(super) source: Source,
    /// `spec`, unchanged.
    pub(super) spec: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    /// The time of creation, as in RFC 3339.
    pub(super) creation_timestamp: Option<String>,
    /// Set if the object has been deleted and waits for its finalizers.
    pub(super) deletion_timestamp: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// The two kinds of volume source that can be imported. Both are `None` for any other kind.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Source {
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

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Map<String, Value>,
}

impl PersistentVolume {
    fn read(value: Value) -> anyhow::Result<Self> {
        let Object { metadata, spec } = serde_json::from_value(value)?;
        let source = serde_json::from_value(Value::Object(spec.clone()))
            .with_context(|| format!("spec of {}", metadata.name))?;
        Ok(Self { metadata, source, spec })
    }

    /// The claim as `namespace/name`; empty if there is none.
    pub(super) fn claim(&self) -> String {
        let text = |key: &str| self.spec.get("claimRef")?.get(key)?.as_str();
        match (text("namespace"), text("name")) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            _ => String::new(),
        }
    }

    /// The capacity as Kubernetes writes it, such as `10Gi`; empty if there is none.
    pub(super) fn capacity(&self) -> &str {
        let capacity = self.spec.get("capacity").and_then(|capacity| capacity.get("storage"));
        capacity.and_then(Value::as_str).unwrap_or_default()
    }
}

/// Reads a list of PersistentVolumes, or a single one.
pub(super) fn parse(json: &[u8]) -> anyhow::Result<Vec<PersistentVolume>> {
    let mut value: Value = serde_json::from_slice(json)?;
    let objects = match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        Some(_) => anyhow::bail!("`items` is not a list"),
        None => vec![value],
    };
    let mut kinds = objects.iter().filter_map(|object| object.get("kind").and_then(Value::as_str));
    if let Some(kind) = kinds.find(|&kind| kind != "PersistentVolume") {
        anyhow::bail!("the file contains a {kind}; only PersistentVolumes are expected");
    }
    objects.into_iter().map(PersistentVolume::read).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The output of kubectl 1.32 for a volume that nfs-subdir-external-provisioner 4.0.3 made.
    pub(in crate::import) const SUB: &str = r#"{
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "annotations": {"pv.kubernetes.io/provisioned-by": "cluster.local/nfs-client-nfs-subdir-external-provisioner"},
            "creationTimestamp": "2024-01-02T03:04:05Z",
            "finalizers": ["kubernetes.io/pv-protection"],
            "name": "pvc-6f2d1c9e-0000-4000-8000-000000000001",
            "resourceVersion": "7123",
            "uid": "0a1b"
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "5Gi"},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "data", "namespace": "shop",
                         "resourceVersion": "7117", "uid": "6f2d1c9e-0000-4000-8000-000000000001"},
            "mountOptions": ["nfsvers=4.1"],
            "nfs": {"path": "/srv/k8s/shop-data-pvc-6f2d1c9e-0000-4000-8000-000000000001", "server": "10.0.0.5"},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": "nfs-client",
            "volumeMode": "Filesystem"
        },
        "status": {"lastPhaseTransitionTime": "2024-01-02T03:04:05Z", "phase": "Bound"}
    }"#;

    /// The output of kubectl 1.32 for a volume that csi-driver-nfs 4.13 made, with `subDir: ${pvc.metadata.namespace}/${pvc.metadata.name}`.
    pub(in crate::import) const CDN: &str = r#"{
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "annotations": {
                "pv.kubernetes.io/provisioned-by": "nfs.csi.k8s.io",
                "volume.kubernetes.io/provisioner-deletion-secret-name": "nfs-options",
                "volume.kubernetes.io/provisioner-deletion-secret-namespace": "kube-system"
            },
            "creationTimestamp": "2025-06-07T08:09:10Z",
            "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer", "kubernetes.io/pv-protection"],
            "labels": {"team": "shop"},
            "name": "pvc-00000000-0000-4000-8000-000000000002",
            "resourceVersion": "9",
            "uid": "0c1d"
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "10Gi"},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "media", "namespace": "shop",
                         "resourceVersion": "8", "uid": "00000000-0000-4000-8000-000000000002"},
            "csi": {
                "driver": "nfs.csi.k8s.io",
                "volumeAttributes": {
                    "csi.storage.k8s.io/pv/name": "pvc-00000000-0000-4000-8000-000000000002",
                    "csi.storage.k8s.io/pvc/name": "media",
                    "csi.storage.k8s.io/pvc/namespace": "shop",
                    "mountPermissions": "0",
                    "onDelete": "archive",
                    "server": "10.0.0.5",
                    "share": "/srv/k8s",
                    "storage.kubernetes.io/csiProvisionerIdentity": "1717-4242-nfs.csi.k8s.io",
                    "subDir": "shop/media"
                },
                "volumeHandle": "10.0.0.5#srv/k8s#shop/media#pvc-00000000-0000-4000-8000-000000000002#archive"
            },
            "mountOptions": ["nfsvers=4.1"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": "nfs-csi",
            "volumeMode": "Filesystem"
        },
        "status": {"phase": "Bound"}
    }"#;

    #[test]
    fn a_list_and_a_single_object_are_read() {
        let list = format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{SUB}, {CDN}]}}"#);
        let volumes = parse(list.as_bytes()).unwrap();
        assert_eq!(volumes.len(), 2);
        assert_eq!(volumes[0].claim(), "shop/data");
        assert_eq!(volumes[0].source.nfs.as_ref().unwrap().server, "10.0.0.5");
        assert_eq!(volumes[1].capacity(), "10Gi");
        assert_eq!(volumes[1].source.csi.as_ref().unwrap().volume_attributes["subDir"], "shop/media");
        assert_eq!(parse(CDN.as_bytes()).unwrap()[0].metadata.labels["team"], "shop");
    }

    #[test]
    fn a_file_without_persistent_volumes_is_refused_with_the_reason() {
        for (text, word) in [
            ("", "EOF"),
            ("[]", "invalid length 0"),
            ("5", "invalid type"),
            (r#"{"items": {}}"#, "not a list"),
            (r#"{"items": [{"kind": "PersistentVolumeClaim"}]}"#, "contains a PersistentVolumeClaim"),
            (r#"{"items": [{"metadata": {"name": "a"}}]}"#, "missing field `spec`"),
            (r#"{"items": [{"metadata": {"name": "a"}, "spec": {"nfs": {"server": 5}}}]}"#, "spec of a"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
