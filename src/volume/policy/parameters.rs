//! The `parameters` of a StorageClass, a VolumeAttributesClass and a VolumeSnapshotClass.

use std::collections::BTreeMap;

use crate::cluster::Claim;
use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::name::template::{Names, needs_claim};
use crate::volume::on_delete::OnDelete;
use crate::volume::policy::keys::Given;
use crate::volume::policy::keys::KEYS;
use crate::volume::policy::keys::KUBERNETES_PREFIX;
use crate::volume::policy::keys::MUTABLE_KEYS;
use crate::volume::policy::keys::SNAPSHOT_KEYS;
use crate::volume::policy::keys::boolean;
use crate::volume::policy::keys::export_of;
use crate::volume::policy::keys::id;
use crate::volume::policy::keys::inodes;
use crate::volume::policy::keys::one_of;
use crate::volume::policy::keys::permissions;
use crate::volume::policy::settings::Settings;

/// The mode of a volume's directory unless `mountPermissions` says otherwise: owner and group can do everything, others
/// nothing.
pub const DEFAULT_MODE: u32 = 0o770;

/// The owner, the group and the permission bits of a volume's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ownership {
    /// The permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner. `None` stands for the user as which the server treats the driver, which is root unless the export squashes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group. `None` stands for the group of that user.
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
    /// The export on which volumes are created.
    pub export: ExportRef,
    /// The template of the directory's path; `None` for the default.
    pub sub_dir: Option<String>,
    /// What happens to the directory when the volume is deleted.
    pub on_delete: OnDelete,
    /// The wanted owner and mode.
    pub owner: Change,
    /// Whether each publish mounts the directory itself from the server, instead of a bind mount from the share.
    pub direct_mount: bool,
    /// How many files and directories the volume may have; `None` for any number.
    pub inodes: Option<u64>,
    /// The names of the claim and the volume, as far as the csi-provisioner passes them.
    pub names: Names,
}

impl Parameters {
    /// Reads the parameters of a StorageClass, and those that the csi-provisioner adds. The settings supply what is not
    /// given.
    pub fn parse(parameters: &BTreeMap<String, String>, settings: &Settings) -> Result<Self> {
        let mut given = Given::new(parameters)?;
        let mut take = |key: &str| given.take(key);

        let mut name = |key: &str| take(&format!("{KUBERNETES_PREFIX}{key}"));
        let names = Names {
            pvc_name: name("pvc/name"),
            pvc_namespace: name("pvc/namespace"),
            pv_name: name("pv/name"),
        };
        let export = export_of(take("export"), take("server"), take("share"))?;
        let export = export.or_else(|| settings.default_export()).ok_or(Error::Missing(
            "an export: parameter `export`, or `server` and `share`, or a default export in the driver's configuration",
        ))?;
        let sub_dir = one_of("subDir", take("subDir"), "pathPattern", take("pathPattern"))?;
        let archive = take("archiveOnDelete").map(|text| boolean("archiveOnDelete", &text)).transpose()?;
        let archive = archive.map(|archive| if archive { OnDelete::Archive } else { OnDelete::Delete });
        let direct_mount = take("directMount").map(|text| boolean("directMount", &text)).transpose()?;
        let inodes = take("inodes").map(|text| inodes(&text)).transpose()?;
        let change = Change::take(&mut take)?;
        given.refuse_rest(&KEYS)?;
        Ok(Self {
            export,
            sub_dir,
            // As in the nfs-client provisioner, `onDelete` overrides `archiveOnDelete`.
            on_delete: change.on_delete.or(archive).unwrap_or(settings.on_delete),
            owner: change,
            direct_mount: direct_mount.unwrap_or(false),
            inodes,
            names,
        })
    }

    /// Whether the directory depends on labels or annotations of the claim.
    pub fn needs_claim(&self) -> Result<bool> {
        self.sub_dir.as_deref().map_or(Ok(false), needs_claim)
    }

    /// The directory of the volume `name` under these parameters. `claim` is given if it is needed.
    pub fn sub_dir_of(&self, name: &str, claim: Option<&Claim>) -> Result<SubDir> {
        match &self.sub_dir {
            Some(template) => self.names.expand(template, claim),
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

/// The parameters that can be changed while a volume exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// `onDelete`
    pub on_delete: Option<OnDelete>,
    /// `mountPermissions`
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
}

impl Change {
    /// Reads the parameters of a VolumeAttributesClass.
    pub fn parse(parameters: &BTreeMap<String, String>) -> Result<Self> {
        let mut given = Given::new(parameters)?;
        let change = Self::take(&mut |key| given.take(key))?;
        given.refuse_rest(&MUTABLE_KEYS)?;
        Ok(change)
    }

    fn take(take: &mut impl FnMut(&str) -> Option<String>) -> Result<Self> {
        Ok(Self {
            on_delete: take("onDelete").map(|text| OnDelete::parse(&text)).transpose()?,
            mode: take("mountPermissions").map(|text| permissions(&text)).transpose()?.flatten(),
            uid: take("uid").map(|text| id("uid", &text)).transpose()?,
            gid: take("gid").map(|text| id("gid", &text)).transpose()?,
        })
    }

    /// This change, completed by `other` for everything that this change does not name.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            on_delete: self.on_delete.or(other.on_delete),
            mode: self.mode.or(other.mode),
            uid: self.uid.or(other.uid),
            gid: self.gid.or(other.gid),
        }
    }

    /// The owner and mode that a directory with `before` has after this change.
    #[must_use]
    pub fn ownership_after(self, before: Ownership) -> Ownership {
        Ownership {
            mode: self.mode.unwrap_or(before.mode),
            uid: self.uid.or(before.uid),
            gid: self.gid.or(before.gid),
        }
    }
}

/// The parameters of a VolumeSnapshotClass or a VolumeGroupSnapshotClass, checked. A snapshot needs none of them; they
/// are the parameters that csi-driver-nfs has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotParameters {
    /// The export. It must be the export of the volume.
    pub export: Option<ExportRef>,
    /// Mount options for the export.
    pub mount_options: Option<String>,
}

impl SnapshotParameters {
    /// Reads the parameters, and those that the csi-snapshotter adds.
    pub fn parse(parameters: &BTreeMap<String, String>) -> Result<Self> {
        let mut given = Given::new(parameters)?;
        let mut take = |key: &str| given.take(key);
        let export = export_of(take("export"), take("server"), take("share"))?;
        let mount_options = take("mountOptions");
        if take("deletionPolicy").is_some() {
            // Kubernetes' storage tests and some tools write it there. It does no harm.
            tracing::warn!(
                "deletionPolicy among the parameters of a snapshot class has no effect: it is a field beside them"
            );
        }
        given.refuse_rest(&SNAPSHOT_KEYS)?;
        Ok(Self { export, mount_options })
    }
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
        Parameters::parse(&all, &Settings::default())
    }

    #[test]
    fn keys_are_read_in_any_case() {
        let parameters =
            parse(&[("SUBDIR", "x"), ("OnDelete", "Archive"), ("mountpermissions", "02770")]).unwrap();
        assert_eq!(parameters.sub_dir.as_deref(), Some("x"));
        assert_eq!(parameters.on_delete, OnDelete::Archive);
        assert_eq!(parameters.owner.mode.unwrap(), 0o2770);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = parse(&[("onDelet", "delete")]).unwrap_err();
        assert_eq!(error.to_string(), "unknown parameter `onDelet`: did you mean `onDelete`?");
        let error = parse(&[("zzz", "1")]).unwrap_err();
        assert_eq!(error.to_string(), "unknown parameter `zzz`");
        assert!(parse(&[("subDir", "a"), ("pathPattern", "b")]).is_err());
        assert!(parse(&[("subDir", "a"), ("subdir", "b")]).is_err());
    }

    #[test]
    fn a_number_of_files_leaves_room_for_one_at_least() {
        assert_eq!(parse(&[]).unwrap().inodes, None);
        assert_eq!(parse(&[("inodes", "2")]).unwrap().inodes, Some(2));
        for text in ["0", "1", "-5", "1k", "1.5", "18446744073709551616", "1099511627777"] {
            let error = parse(&[("inodes", text)]).unwrap_err().to_string();
            assert!(error.contains("the directory itself counts"), "{text}: {error}");
        }
        assert!(Change::parse(&map(&[("inodes", "5")])).is_err(), "it cannot be changed");
    }

    #[test]
    fn a_key_that_belongs_elsewhere_is_refused_with_its_place() {
        for (key, words) in [
            ("mountOptions", "parameter `mountOptions`: it is a field of the StorageClass itself"),
            ("reclaimPolicy", "beside `parameters`"),
            ("deletionPolicy", "VolumeSnapshotClass"),
            ("NFS_SERVER", "parameter `NFS_SERVER`: it is a setting of the nfs-client provisioner"),
            ("fsType", "no choice of file systems"),
        ] {
            let error = parse(&[(key, "x")]).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("did you mean"), "{key}: {error}");
        }
        let error = Change::parse(&map(&[("subDir", "x")])).unwrap_err().to_string();
        assert!(error.contains("it belongs to a StorageClass"), "{error}");
    }

    #[test]
    fn a_key_without_a_value_is_not_given() {
        let empty = KEYS.map(|key| (key, if ["server", "share"].contains(&key) { "x" } else { "" }));
        let empty: Vec<_> = empty.into_iter().filter(|(_, value)| value.is_empty()).collect();
        assert_eq!(parse(&empty).unwrap(), parse(&[]).unwrap());
        assert_eq!(parse(&[("subDir", " "), ("unknown", "")]).unwrap(), parse(&[]).unwrap());
        assert_eq!(Change::parse(&map(&[("onDelete", ""), ("uid", "")])).unwrap(), Change::default());
    }

    #[test]
    fn a_snapshot_class_can_have_its_deletion_policy_among_the_parameters() {
        let parameters = SnapshotParameters::parse(&map(&[("deletionPolicy", "Delete")])).unwrap();
        assert_eq!(parameters, SnapshotParameters::default());
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
    fn an_export_is_named_or_inline_or_the_default() {
        let settings = Settings { default_export: Some("fast".to_owned()), ..Settings::default() };
        let of =
            |pairs: &[(&str, &str)]| Parameters::parse(&map(pairs), &settings).map(|p| p.export.to_string());
        assert_eq!(of(&[]).unwrap(), "fast");
        assert_eq!(of(&[("Export", "slow")]).unwrap(), "slow");
        assert_eq!(of(&[("server", "nas"), ("share", "/srv")]).unwrap(), "nas:/srv");
        for pairs in [
            &[("server", "nas")][..],
            &[("share", "/srv")],
            &[("export", "a"), ("server", "nas")],
            &[("export", "nas:/srv")],
        ] {
            assert!(of(pairs).is_err(), "{pairs:?}");
        }
        assert!(Parameters::parse(&map(&[]), &Settings::default()).is_err());
    }

    #[test]
    fn only_what_may_change_is_taken_as_a_change() {
        let change = Change::parse(&map(&[("ondelete", "retain"), ("uid", "1000")])).unwrap();
        assert_eq!(
            change,
            Change { on_delete: Some(OnDelete::Retain), uid: Some(1000), ..Change::default() }
        );
        assert!(Change::parse(&map(&[("subDir", "x")])).is_err());
        assert!(Change::parse(&map(&[("XXX_FakeKey", "x")])).is_err());
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
        assert_eq!(parse(&[("mountPermissions", "0")]).unwrap().owner.mode, None);
    }

    #[test]
    fn a_volume_without_claim_is_named_by_its_name_if_that_is_one_component() {
        let parameters = parse(&[]).unwrap();
        assert_eq!(parameters.sub_dir_of("vol-1", None).unwrap().as_str(), "vol-1");
        assert_eq!(parameters.sub_dir_of(&"n".repeat(128), None).unwrap().as_str(), "n".repeat(128));
        for name in ["a/b", "..", ".nfs-subdir-csi"] {
            let sub_dir = parameters.sub_dir_of(name, None).unwrap();
            assert!(!sub_dir.as_str().contains('/') && sub_dir.as_str() != name, "{sub_dir}");
        }
    }
}
