//! The keys of a StorageClass's `parameters` and of a PersistentVolume's `volumeAttributes`.

use std::collections::BTreeMap;

use super::template::Names;
use super::{Error, Export, Result, SubDir, VolumeKey};

/// What becomes of a volume's directory when the volume is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    /// It is removed with everything in it.
    #[default]
    Delete,
    /// It stays where it is.
    Retain,
    /// It is renamed to `archived-…`.
    Archive,
}

impl OnDelete {
    fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "delete" => Ok(Self::Delete),
            "retain" => Ok(Self::Retain),
            "archive" => Ok(Self::Archive),
            _ => Err(Error::invalid("onDelete", format!("{text:?} is none of delete, retain and archive"))),
        }
    }
}

/// Mode of a volume's directory unless `mountPermissions` says otherwise: all for owner and group, nothing for
/// others.
pub const DEFAULT_MODE: u32 = 0o770;

/// Who owns a volume's directory, and what its permission bits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ownership {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// `None`: the user that the server takes the driver for, root unless it squashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// As `uid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

impl Default for Ownership {
    fn default() -> Self {
        Self { mode: DEFAULT_MODE, uid: None, gid: None }
    }
}

/// The parameters of a StorageClass, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// Where volumes are made.
    pub export: Export,
    /// Template of the directory's path; `None` for the default one.
    pub sub_dir: Option<String>,
    /// What becomes of the directory in the end.
    pub on_delete: OnDelete,
    /// Whose it is.
    pub ownership: Ownership,
    /// What the provisioner tells about the claim.
    pub names: Names,
}

/// The keys a StorageClass may have, in the spelling of the documentation.
const KEYS: [&str; 9] = [
    "server",
    "share",
    "subDir",
    "pathPattern",
    "onDelete",
    "archiveOnDelete",
    "mountPermissions",
    "uid",
    "gid",
];
/// Kubernetes' own keys begin with this. Those that the driver has no use for are passed over.
const KUBERNETES_PREFIX: &str = "csi.storage.k8s.io/";

impl Parameters {
    /// Reads the parameters of a StorageClass, with those that the provisioner adds.
    pub fn parse(parameters: &BTreeMap<String, String>) -> Result<Self> {
        let mut map = fold_keys(parameters)?;
        let mut take = |key: &str| map.remove(&key.to_ascii_lowercase());

        let mut name = |key: &str| take(&format!("{KUBERNETES_PREFIX}{key}"));
        let names = Names {
            pvc_name: name("pvc/name"),
            pvc_namespace: name("pvc/namespace"),
            pv_name: name("pv/name"),
        };
        let server = take("server").ok_or(Error::Missing("parameter `server`"))?;
        let share = take("share").ok_or(Error::Missing("parameter `share`"))?;
        let sub_dir = one_of("subDir", take("subDir"), "pathPattern", take("pathPattern"))?;
        let archive = take("archiveOnDelete").map(|text| archive_on_delete(&text)).transpose()?;
        let on_delete = take("onDelete").map(|text| OnDelete::parse(&text)).transpose()?;
        let mode = take("mountPermissions").map(|text| permissions(&text)).transpose()?;
        let ownership = Ownership {
            mode: mode.flatten().unwrap_or(DEFAULT_MODE),
            uid: take("uid").map(|text| id("uid", &text)).transpose()?,
            gid: take("gid").map(|text| id("gid", &text)).transpose()?,
        };
        refuse_unknown(map.keys().map(String::as_str), &KEYS)?;
        Ok(Self {
            export: Export::new(&server, &share)?,
            sub_dir: sub_dir.filter(|template| !template.is_empty()),
            // As with the nfs-client provisioner, `onDelete` counts more than `archiveOnDelete`.
            on_delete: on_delete.or(archive).unwrap_or_default(),
            ownership,
            names,
        })
    }

    /// The directory of the volume `name` under these parameters.
    pub fn sub_dir_of(&self, name: &str) -> Result<SubDir> {
        match &self.sub_dir {
            Some(template) => self.names.expand(template),
            None => self.names.default_sub_dir(
                SubDir::parse(name)
                    .ok()
                    .filter(|_| !name.contains('/'))
                    .map_or_else(|| VolumeKey::of_name(name).to_string(), |plain| plain.to_string())
                    .as_str(),
            ),
        }
    }
}

/// Where a PersistentVolume says its directory is: `volumeAttributes`, or what CreateVolume answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeContext {
    /// `server` and `share`, if they are there.
    pub export: Option<Export>,
    /// `subDir`, if it is there. A plain path: templates were filled in when the volume was made.
    pub sub_dir: Option<SubDir>,
}

impl VolumeContext {
    /// Reads a volume context. Keys it does not know are passed over: orchestrators add their own.
    pub fn parse(context: &BTreeMap<String, String>) -> Result<Self> {
        let mut map = fold_keys(context)?;
        let export = match (map.remove("server"), map.remove("share")) {
            (Some(server), Some(share)) => Some(Export::new(&server, &share)?),
            (None, None) => None,
            (Some(_), None) => return Err(Error::Missing("volume attribute `share`")),
            (None, Some(_)) => return Err(Error::Missing("volume attribute `server`")),
        };
        let sub_dir = map.remove("subdir").map(|path| SubDir::parse(path.trim_matches('/'))).transpose()?;
        Ok(Self { export, sub_dir })
    }

    /// The context of a volume, as CreateVolume answers it and NodePublishVolume gets it back.
    #[must_use]
    pub fn of(export: &Export, sub_dir: &SubDir) -> BTreeMap<String, String> {
        [("server", export.server()), ("share", export.share()), ("subDir", sub_dir.as_str())]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

/// The map with its keys in lower case. Two spellings of one key are a contradiction.
fn fold_keys(map: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut folded = BTreeMap::new();
    for (key, value) in map {
        if folded.insert(key.to_ascii_lowercase(), value.clone()).is_some() {
            return Err(Error::invalid(key, "the key is given twice"));
        }
    }
    Ok(folded)
}

fn one_of(key: &str, value: Option<String>, alias: &str, other: Option<String>) -> Result<Option<String>> {
    match (value, other) {
        (Some(_), Some(_)) => {
            Err(Error::invalid(key, format!("means the same as {alias}: give one of them")))
        }
        (value, other) => Ok(value.or(other)),
    }
}

fn archive_on_delete(text: &str) -> Result<OnDelete> {
    // The spellings that the nfs-client provisioner takes.
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(OnDelete::Archive),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(OnDelete::Delete),
        _ => Err(Error::invalid("archiveOnDelete", format!("{text:?} is neither true nor false"))),
    }
}

/// Octal permission bits; 0, as csi-driver-nfs has it, stands for the default.
fn permissions(text: &str) -> Result<Option<u32>> {
    match u32::from_str_radix(text, 8) {
        Ok(0) => Ok(None),
        Ok(mode) if mode <= 0o7777 => Ok(Some(mode)),
        _ => {
            Err(Error::invalid("mountPermissions", format!("{text:?} is no octal mode such as 0770 or 2770")))
        }
    }
}

fn id(key: &str, text: &str) -> Result<u32> {
    // The largest number means "unchanged" to chown(2).
    let number = text.parse().ok().filter(|&number| number != u32::MAX);
    number.ok_or_else(|| Error::invalid(key, format!("{text:?} is no numeric id")))
}

fn refuse_unknown<'a>(keys: impl Iterator<Item = &'a str>, known: &[&str]) -> Result<()> {
    let mut keys = keys.filter(|key| !key.starts_with(KUBERNETES_PREFIX));
    let Some(key) = keys.next() else { return Ok(()) };
    let likeness = |candidate: &&&str| strsim::jaro_winkler(key, &candidate.to_ascii_lowercase());
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let nearest =
        nearest.filter(|candidate| likeness(candidate) > 0.8).map(|&candidate| candidate.to_owned());
    Err(Error::UnknownParameter { key: key.to_owned(), nearest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn parse(pairs: &[(&str, &str)]) -> Result<Parameters> {
        let mut all = map(&[("server", "nas"), ("share", "/srv")]);
        all.extend(map(pairs));
        Parameters::parse(&all)
    }

    #[test]
    fn keys_are_read_in_any_case() {
        let parameters =
            parse(&[("SUBDIR", "x"), ("OnDelete", "Archive"), ("mountpermissions", "02770")]).unwrap();
        assert_eq!(parameters.sub_dir.as_deref(), Some("x"));
        assert_eq!(parameters.on_delete, OnDelete::Archive);
        assert_eq!(parameters.ownership.mode, 0o2770);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = parse(&[("onDelet", "delete")]).unwrap_err();
        assert_eq!(error.to_string(), "unknown parameter `ondelet`: did you mean `onDelete`?");
        let error = parse(&[("zzz", "")]).unwrap_err();
        assert_eq!(error.to_string(), "unknown parameter `zzz`");
        assert!(parse(&[("subDir", "a"), ("pathPattern", "b")]).is_err());
        assert!(parse(&[("subDir", "a"), ("subdir", "b")]).is_err());
    }

    #[test]
    fn the_nfs_client_provisioners_parameters_mean_what_they_meant() {
        let of = |pairs: &[(&str, &str)]| parse(pairs).unwrap().on_delete;
        assert_eq!(of(&[("archiveOnDelete", "false")]), OnDelete::Delete);
        assert_eq!(of(&[("archiveOnDelete", "true")]), OnDelete::Archive);
        assert_eq!(of(&[("archiveOnDelete", "true"), ("onDelete", "retain")]), OnDelete::Retain);
        assert!(parse(&[("archiveOnDelete", "maybe")]).is_err());
        let pattern = parse(&[("pathPattern", "${.PVC.namespace}/${.PVC.name}")]).unwrap();
        assert_eq!(pattern.sub_dir.as_deref(), Some("${.PVC.namespace}/${.PVC.name}"));
    }

    #[test]
    fn modes_and_ids_are_checked() {
        for (key, value) in [
            ("mountPermissions", "0888"),
            ("mountPermissions", "17777"),
            ("uid", "-1"),
            ("gid", "wheel"),
            ("uid", "4294967295"),
        ] {
            assert!(parse(&[(key, value)]).is_err(), "{key} {value}");
        }
        assert_eq!(parse(&[("mountPermissions", "0")]).unwrap().ownership.mode, DEFAULT_MODE);
    }

    #[test]
    fn a_volume_without_claim_is_named_by_its_name_if_that_is_one_component() {
        let parameters = parse(&[]).unwrap();
        assert_eq!(parameters.sub_dir_of("vol-1").unwrap().as_str(), "vol-1");
        assert_eq!(parameters.sub_dir_of(&"n".repeat(128)).unwrap().as_str(), "n".repeat(128));
        for name in ["a/b", "..", ".nfs-subdir-csi"] {
            let sub_dir = parameters.sub_dir_of(name).unwrap();
            assert!(!sub_dir.as_str().contains('/') && sub_dir.as_str() != name, "{sub_dir}");
        }
    }

    #[test]
    fn a_context_reads_back_and_half_an_export_is_an_error() {
        let export = Export::new("nas", "/srv").unwrap();
        let sub_dir = SubDir::parse("ns/claim").unwrap();
        let read = VolumeContext::parse(&VolumeContext::of(&export, &sub_dir)).unwrap();
        assert_eq!(read, VolumeContext { export: Some(export), sub_dir: Some(sub_dir) });
        assert!(VolumeContext::parse(&map(&[("server", "nas")])).is_err());
        assert!(VolumeContext::parse(&map(&[("subdir", "../x")])).is_err());
        VolumeContext::parse(&map(&[("storage.kubernetes.io/csiProvisionerIdentity", "x")])).unwrap();
    }
}
