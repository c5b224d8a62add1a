//! The keys of parameters, and the forms of their values.

use std::collections::BTreeMap;

use crate::volume::error::{Error, Result};
use crate::volume::name::export::{Export, ExportRef};

/// The keys that a StorageClass can have, in the spelling of the documentation.
pub const KEYS: [&str; 11] = [
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
];

/// The keys that can be changed while a volume exists (VolumeAttributesClass).
pub const MUTABLE_KEYS: [&str; 4] = ["onDelete", "mountPermissions", "uid", "gid"];

/// The beginning of the keys that Kubernetes adds. The driver ignores the ones that it does not need.
pub(in crate::volume) const KUBERNETES_PREFIX: &str = "csi.storage.k8s.io/";

/// The keys that a VolumeSnapshotClass or a VolumeGroupSnapshotClass can have.
pub(in crate::volume) const SNAPSHOT_KEYS: [&str; 4] = ["export", "server", "share", "mountOptions"];

/// The map with its keys in lower case. Fails if a key is there in two spellings.
pub(in crate::volume) fn fold_keys(map: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut folded = BTreeMap::new();
    for (key, value) in map {
        if folded.insert(key.to_ascii_lowercase(), value.clone()).is_some() {
            return Err(Error::invalid(key, "the key is given twice"));
        }
    }
    Ok(folded)
}

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

/// Reads the number of a user or a group.
pub(in crate::volume) fn id(key: &str, text: &str) -> Result<u32> {
    // For chown(2), the largest number means "do not change".
    let number = text.parse().ok().filter(|&number| number != u32::MAX);
    number.ok_or_else(|| Error::invalid(key, format!("{text:?} is not a numeric id")))
}

/// Fails if there is a key that is neither known nor of Kubernetes. The error names the known key that is most like it.
pub(in crate::volume) fn refuse_unknown<'a>(
    keys: impl Iterator<Item = &'a str>,
    known: &[&str],
) -> Result<()> {
    let mut keys = keys.filter(|key| !key.starts_with(KUBERNETES_PREFIX));
    let Some(key) = keys.next() else { return Ok(()) };
    let likeness = |candidate: &&&str| strsim::jaro_winkler(key, &candidate.to_ascii_lowercase());
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let nearest =
        nearest.filter(|candidate| likeness(candidate) > 0.8).map(|&candidate| candidate.to_owned());
    Err(Error::UnknownParameter { key: key.to_owned(), nearest })
}
