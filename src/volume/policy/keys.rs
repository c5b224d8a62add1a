//! The keys of parameters, and the forms of their values.

use std::collections::BTreeMap;

use crate::volume::error::{Error, Result};
use crate::volume::name::export::{Export, ExportRef};

/// The keys that a StorageClass can have, in the spelling of the documentation.
pub const KEYS: [&str; 12] = [
    "export",
    "server",
    "share",
    "subDir",
    "pathPattern",
    "onDelete",
    "archiveOnDelete",
    "mountPermissions",
    "uid",
    "gid",
    "directMount",
    "inodes",
];

/// No file system has more files. The quotas of ext4 count them in 64 bits, and the agent uses a larger limit as a mark.
const MOST_INODES: u64 = 1 << 40;

/// The keys that can be changed while a volume exists (VolumeAttributesClass).
pub const MUTABLE_KEYS: [&str; 4] = ["onDelete", "mountPermissions", "uid", "gid"];

/// The beginning of the keys that Kubernetes adds. The driver ignores the ones that it does not need.
pub(in crate::volume) const KUBERNETES_PREFIX: &str = "csi.storage.k8s.io/";

/// The keys that a VolumeSnapshotClass or a VolumeGroupSnapshotClass can have.
pub(in crate::volume) const SNAPSHOT_KEYS: [&str; 4] = ["export", "server", "share", "mountOptions"];

/// Parameters that are read key by key. Upper and lower case make no difference in keys.
pub(in crate::volume) struct Given {
    /// For each key in lower case, the key as it was written, and the value.
    left: BTreeMap<String, (String, String)>,
}

impl Given {
    /// A key with an empty value counts as not given, because Helm charts often contain such keys. Fails if a key is given in two spellings.
    pub(in crate::volume) fn new(map: &BTreeMap<String, String>) -> Result<Self> {
        let mut left = BTreeMap::new();
        for (key, value) in map.iter().filter(|(_, value)| !value.trim().is_empty()) {
            if left.insert(key.to_ascii_lowercase(), (key.clone(), value.clone())).is_some() {
                return Err(Error::invalid(key, "the key is given twice"));
            }
        }
        Ok(Self { left })
    }

    /// Removes `key` and returns its value.
    pub(in crate::volume) fn take(&mut self, key: &str) -> Option<String> {
        self.left.remove(&key.to_ascii_lowercase()).map(|(_, value)| value)
    }

    /// Fails if a key is left that does not belong to Kubernetes. The error says where the key belongs, or names the known key that is most
    /// like it.
    pub(in crate::volume) fn refuse_rest(&self, known: &[&str]) -> Result<()> {
        let mut keys = self.left.iter().filter(|(key, _)| !key.starts_with(KUBERNETES_PREFIX));
        let Some((lower, (key, _))) = keys.next() else { return Ok(()) };
        if let Some((_, place)) = ELSEWHERE.iter().find(|(name, _)| name == lower) {
            return Err(Error::invalid(format!("parameter `{key}`"), *place));
        }
        if KEYS.iter().any(|own| own.eq_ignore_ascii_case(key)) {
            return Err(Error::invalid(
                format!("parameter `{key}`"),
                format!("it belongs to a StorageClass; here only {} are possible", known.join(", ")),
            ));
        }
        let likeness = |candidate: &&&str| strsim::jaro_winkler(lower, &candidate.to_ascii_lowercase());
        let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let nearest = nearest.filter(|candidate| likeness(candidate) > 0.8).map(|&key| key.to_owned());
        Err(Error::UnknownParameter { key: key.clone(), nearest })
    }
}

const OF_THE_CLASS: &str = "it is a field of the StorageClass itself and stands beside `parameters`";
const OF_THE_CLIENT_PROVISIONER: &str =
    "it is a setting of the nfs-client provisioner; here use `server` and `share`";

/// Keys, in lower case, that are often written among the parameters and belong elsewhere.
const ELSEWHERE: [(&str, &str); 17] = [
    ("mountoptions", OF_THE_CLASS),
    ("reclaimpolicy", OF_THE_CLASS),
    ("volumebindingmode", OF_THE_CLASS),
    ("allowvolumeexpansion", OF_THE_CLASS),
    ("allowedtopologies", OF_THE_CLASS),
    ("provisioner", OF_THE_CLASS),
    ("deletionpolicy", "it is a field of the VolumeSnapshotClass and stands beside its `parameters`"),
    ("accessmodes", "it belongs to the PersistentVolumeClaim"),
    ("storage", "it belongs to the PersistentVolumeClaim (resources.requests.storage)"),
    ("fstype", "NFS has no choice of file systems; remove it"),
    ("nfs_server", OF_THE_CLIENT_PROVISIONER),
    ("nfs_path", OF_THE_CLIENT_PROVISIONER),
    ("path", "the path on the server is called `share`"),
    ("subpath", "the directory below the share is called `subDir`"),
    ("basepath", "it is a parameter of another driver; here the directory is called `subDir`"),
    ("directoryperms", "it is a parameter of another driver; here the mode is called `mountPermissions`"),
    ("provisioningmode", "it is a parameter of another driver; every volume is a directory here"),
];

/// The value of a key that has two names. Fails if both are given.
pub(in crate::volume) fn one_of(
    key: &str,
    value: Option<String>,
    alias: &str,
    other: Option<String>,
) -> Result<Option<String>> {
    match (value, other) {
        (Some(_), Some(_)) => {
            Err(Error::invalid(key, format!("it means the same as {alias}: give only one of them")))
        }
        (value, other) => Ok(value.or(other)),
    }
}

/// The export that `export`, or `server` and `share`, name; `None` if none of the three is given.
pub(in crate::volume) fn export_of(
    name: Option<String>,
    server: Option<String>,
    share: Option<String>,
) -> Result<Option<ExportRef>> {
    match (name, server, share) {
        (Some(name), None, None) => ExportRef::named(&name).map(Some),
        (None, Some(server), Some(share)) => Ok(Some(ExportRef::Inline(Export::new(&server, &share)?))),
        (None, None, None) => Ok(None),
        (None, Some(_), None) => Err(Error::Missing("`share`, which belongs to `server`")),
        (None, None, Some(_)) => Err(Error::Missing("`server`, which belongs to `share`")),
        (Some(_), ..) => Err(Error::invalid(
            "export",
            "it stands for the server and the share: remove `server` and `share`",
        )),
    }
}

/// Reads a boolean in the spellings that the nfs-client provisioner accepts.
pub(in crate::volume) fn boolean(key: &str, text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(key, format!("{text:?} is neither true nor false"))),
    }
}

/// Reads octal permission bits. As in csi-driver-nfs, 0 stands for the default.
pub(in crate::volume) fn permissions(text: &str) -> Result<Option<u32>> {
    match u32::from_str_radix(text, 8) {
        Ok(0) => Ok(None),
        Ok(mode) if mode <= 0o7777 => Ok(Some(mode)),
        _ => Err(Error::invalid(
            "mountPermissions",
            format!("{text:?} is not an octal mode such as 0770 or 2770"),
        )),
    }
}

/// Reads how many files and directories a volume may have. Its own directory counts, so one of them would leave no file.
pub(in crate::volume) fn inodes(text: &str) -> Result<u64> {
    let number = text.parse().ok().filter(|&number: &u64| (2..=MOST_INODES).contains(&number));
    number.ok_or_else(|| {
        let reason =
            format!("{text:?} is not a number of files from 2 to {MOST_INODES}; the directory itself counts");
        Error::invalid("inodes", reason)
    })
}

/// Reads the number of a user or a group.
pub(in crate::volume) fn id(key: &str, text: &str) -> Result<u32> {
    // For chown(2), the largest number means "do not change".
    let number = text.parse().ok().filter(|&number| number != u32::MAX);
    number.ok_or_else(|| Error::invalid(key, format!("{text:?} is not a numeric id")))
}
