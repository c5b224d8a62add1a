//! The volume context: the `volumeAttributes` of a PersistentVolume. CreateVolume returns it, and NodePublishVolume
//! receives it.

use std::collections::BTreeMap;

use crate::volume::error::{Error, Result};
use crate::volume::name::export::ExportRef;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::policy::keys::{Given, boolean, export_of};

/// Set by kubelet for a volume that is defined in a pod.
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

/// What the context says about a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeContext {
    /// `export`, or `server` and `share`.
    pub export: Option<ExportRef>,
    /// `subDir`. This is a path and not a template.
    pub sub_dir: Option<SubDir>,
    /// `mountOptions`, in the form of csi-driver-nfs: one text with commas.
    pub mount_options: Option<String>,
    /// `directMount`
    pub direct_mount: bool,
    /// Whether the volume exists only as long as its pod. Then a tenant has written the rest of the context.
    pub ephemeral: bool,
}

impl VolumeContext {
    /// Reads a volume context. Ignores unknown keys, because orchestrators add their own.
    pub fn parse(context: &BTreeMap<String, String>) -> Result<Self> {
        let mut given = Given::new(context)?;
        let mut take = |key: &str| given.take(key);
        let context = Self {
            export: export_of(take("export"), take("server"), take("share"))?,
            sub_dir: take("subdir").map(|path| SubDir::parse(path.trim_matches('/'))).transpose()?,
            mount_options: take("mountoptions"),
            direct_mount: take("directmount").map_or(Ok(false), |text| boolean("directMount", &text))?,
            ephemeral: take(EPHEMERAL).map_or(Ok(false), |text| boolean(EPHEMERAL, &text))?,
        };
        if context.ephemeral
            && (context.sub_dir.is_some() || context.mount_options.is_some() || context.direct_mount)
        {
            let reason = "an ephemeral volume is an empty directory of its pod with the configured mount options, so only \
                          `export`, or `server` and `share`, can be given. For the share itself, as csi-driver-nfs publishes \
                          it, use a PersistentVolume and a claim";
            return Err(Error::invalid("volumeAttributes", reason));
        }
        Ok(context)
    }

    /// The context in the form that CreateVolume returns.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let mut put = |key: &str, value: &str| map.insert(key.to_owned(), value.to_owned());
        match &self.export {
            Some(ExportRef::Named(name)) => drop(put("export", name)),
            Some(ExportRef::Inline(export)) => {
                put("server", export.server());
                put("share", export.share());
            }
            None => {}
        }
        if let Some(sub_dir) = &self.sub_dir {
            put("subDir", sub_dir.as_str());
        }
        if self.direct_mount {
            put("directMount", "true");
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::name::export::Export;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_context_reads_back_as_it_was_written() {
        for export in
            [ExportRef::Inline(Export::new("nas", "/srv").unwrap()), ExportRef::named("fast").unwrap()]
        {
            let sub_dir = Some(SubDir::parse("ns/claim").unwrap());
            let context =
                VolumeContext { export: Some(export), sub_dir, direct_mount: true, ..Default::default() };
            assert_eq!(VolumeContext::parse(&context.to_map()).unwrap(), context);
        }
    }

    #[test]
    fn a_context_of_csi_driver_nfs_is_read() {
        let context = VolumeContext::parse(&map(&[
            ("server", "nas"),
            ("share", "/"),
            ("subdir", "pvc-1"),
            ("mountPermissions", "0"),
            ("csi.storage.k8s.io/pv/name", "pvc-1"),
            ("storage.kubernetes.io/csiProvisionerIdentity", "1-2-nfs.csi.k8s.io"),
            ("mountOptions", "nfsvers=4.1,hard"),
        ]));
        let context = context.unwrap();
        assert_eq!(context.export.unwrap().to_string(), "nas:/");
        assert_eq!(context.sub_dir.unwrap().as_str(), "pvc-1");
        assert_eq!(context.mount_options.as_deref(), Some("nfsvers=4.1,hard"));
    }

    #[test]
    fn a_server_without_a_share_and_a_path_that_leads_out_are_errors() {
        assert!(VolumeContext::parse(&map(&[("server", "nas")])).is_err());
        assert!(VolumeContext::parse(&map(&[("subdir", "../x")])).is_err());
        assert!(VolumeContext::parse(&map(&[("subdir", "/")])).is_err());
    }

    #[test]
    fn an_ephemeral_volume_chooses_neither_its_directory_nor_its_options() {
        let ephemeral = (EPHEMERAL, "true");
        for pair in [("subDir", "other"), ("mountOptions", "ro"), ("directMount", "true")] {
            let message = VolumeContext::parse(&map(&[ephemeral, pair])).unwrap_err().to_string();
            assert!(message.contains("use a PersistentVolume and a claim"), "{pair:?}: {message}");
        }
        assert!(VolumeContext::parse(&map(&[ephemeral, ("export", "fast")])).unwrap().ephemeral);
    }
}
