//! From protobuf to the domain's types: required fields, capabilities, ranges. All functions are pure.

use std::collections::BTreeMap;

use crate::linux::nfs_options;
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::LONGEST_HANDLE;
use crate::volume::name::source::Source;
use crate::volume::policy::access_mode::AccessMode;
use crate::volume::share::capacity::CapacityRange;

use super::proto;
use super::proto::volume_capability::AccessType;
use super::proto::volume_capability::access_mode::Mode;

/// A protobuf map, as the generated code has it.
pub type Map = BTreeMap<String, String>;

/// How a volume is to be used, as one `VolumeCapability` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// How many nodes and pods may use it, and for what.
    pub access: AccessMode,
    /// The mount options as they were given. They have been checked.
    pub mount_flags: Vec<String>,
    /// The group that gets access to the volume.
    pub group: Option<u32>,
}

/// Checks a field that must not be empty.
pub fn required<'a>(field: &'static str, value: &'a str) -> Result<&'a str> {
    if value.is_empty() { Err(Error::Missing(field)) } else { Ok(value) }
}

/// Checks a handle, which must not be empty and has at most 128 bytes (CSI specification, "Size Limits"). Whatever keeps
/// handles in memory can rely on that.
pub fn handle(field: &'static str, value: &str) -> Result<String> {
    if value.len() > LONGEST_HANDLE {
        let reason = format!("it has {} bytes, and CSI allows {LONGEST_HANDLE}", value.len());
        return Err(Error::invalid(field, reason));
    }
    required(field, value).map(str::to_owned)
}

/// Reads one capability.
pub fn capability(capability: &proto::VolumeCapability) -> Result<Capability> {
    let mount = match &capability.access_type {
        Some(AccessType::Mount(mount)) => mount,
        Some(AccessType::Block(_)) => {
            let reason =
                "an NFS volume is a directory and cannot be used as a block device (volumeMode: Block)";
            return Err(Error::invalid("volume_capability", reason));
        }
        None => return Err(Error::Missing("volume_capability.access_type")),
    };
    let mode = capability.access_mode.as_ref().ok_or(Error::Missing("volume_capability.access_mode"))?;
    let access = match Mode::try_from(mode.mode) {
        Ok(Mode::SingleNodeWriter) => AccessMode::SingleNodeWriter,
        Ok(Mode::SingleNodeReaderOnly) => AccessMode::SingleNodeReaderOnly,
        Ok(Mode::MultiNodeReaderOnly) => AccessMode::MultiNodeReaderOnly,
        Ok(Mode::MultiNodeSingleWriter) => AccessMode::MultiNodeSingleWriter,
        Ok(Mode::MultiNodeMultiWriter) => AccessMode::MultiNodeMultiWriter,
        Ok(Mode::SingleNodeSingleWriter) => AccessMode::SingleNodeSingleWriter,
        Ok(Mode::SingleNodeMultiWriter) => AccessMode::SingleNodeMultiWriter,
        Ok(Mode::Unknown) | Err(_) => {
            let reason = format!("{} is not an access mode that CSI defines", mode.mode);
            return Err(Error::invalid("volume_capability.access_mode", reason));
        }
    };
    nfs_options::parse(&mount.mount_flags)?;
    let group = Some(mount.volume_mount_group.as_str()).filter(|group| !group.is_empty());
    let group = group.map(|group| {
        group
            .parse()
            .map_err(|_| Error::invalid("volume_mount_group", format!("{group:?} is not a numeric group id")))
    });
    Ok(Capability { access, mount_flags: mount.mount_flags.clone(), group: group.transpose()? })
}

/// Reads all capabilities of a volume. There must be at least one.
pub fn capabilities(list: &[proto::VolumeCapability]) -> Result<Vec<Capability>> {
    if list.is_empty() {
        return Err(Error::Missing("volume_capabilities"));
    }
    list.iter().map(capability).collect()
}

/// The mount options in the secrets of a call. They have the key that csi-driver-nfs uses, `mountOptions`, in upper or lower
/// case.
#[must_use]
pub fn secret_options(secrets: &Map) -> Option<String> {
    secrets
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("mountOptions"))
        .map(|(_, options)| options.clone())
}

/// The number of entries in one page of a list; 0 lets the driver choose.
pub fn page_size(max_entries: i32) -> Result<usize> {
    usize::try_from(max_entries)
        .map_err(|_| Error::invalid("max_entries", format!("{max_entries} is negative")))
}

/// Reads a capacity range. Without one, every capacity will do.
pub fn capacity_range(range: Option<&proto::CapacityRange>) -> Result<CapacityRange> {
    range.map_or(Ok(CapacityRange::default()), |range| {
        CapacityRange::new(range.required_bytes, range.limit_bytes)
    })
}

/// Reads what CreateVolume is to fill a volume with.
pub(super) fn source(source: Option<proto::VolumeContentSource>) -> Result<Option<Source>> {
    use proto::volume_content_source::Type;
    let Some(source) = source else { return Ok(None) };
    match source.r#type.ok_or(Error::Missing("volume_content_source.type"))? {
        Type::Snapshot(snapshot) => {
            handle("volume_content_source.snapshot_id", &snapshot.snapshot_id).map(Source::Snapshot).map(Some)
        }
        Type::Volume(volume) => {
            handle("volume_content_source.volume_id", &volume.volume_id).map(Source::Volume).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::volume_capability::{AccessMode as ProtoMode, BlockVolume, MountVolume};

    fn mounted(mode: i32, flags: &[&str]) -> proto::VolumeCapability {
        let mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        proto::VolumeCapability {
            access_mode: Some(ProtoMode { mode }),
            access_type: Some(AccessType::Mount(MountVolume { mount_flags, ..Default::default() })),
        }
    }

    #[test]
    fn all_seven_access_modes_are_taken_and_no_other() {
        for mode in 1..=7 {
            let read_only =
                mode == Mode::SingleNodeReaderOnly as i32 || mode == Mode::MultiNodeReaderOnly as i32;
            assert_eq!(capability(&mounted(mode, &[])).unwrap().access.is_read_only(), read_only, "{mode}");
        }
        for mode in [0, 8, -1] {
            assert!(capability(&mounted(mode, &[])).is_err(), "{mode}");
        }
    }

    #[test]
    fn a_handle_that_is_longer_than_csi_allows_is_refused() {
        assert_eq!(handle("volume_id", &"x".repeat(128)).unwrap().len(), 128);
        for text in ["x".repeat(129), "x".repeat(3_000_000), String::new()] {
            let error = handle("volume_id", &text).unwrap_err().to_string();
            assert!(error.starts_with("volume_id") && error.len() < 100, "{error}");
        }
    }

    #[test]
    fn block_and_nothing_are_refused() {
        let mut block = mounted(1, &[]);
        block.access_type = Some(AccessType::Block(BlockVolume {}));
        assert!(capability(&block).unwrap_err().to_string().contains("block device"));
        block.access_type = None;
        assert!(capability(&block).is_err());
        assert!(capabilities(&[]).is_err());
    }

    #[test]
    fn a_bad_mount_flag_and_a_bad_group_are_refused() {
        assert!(capability(&mounted(5, &["nfsvers=4.1", "nosuid"])).is_ok());
        assert!(capability(&mounted(5, &["vers=9"])).is_err());
        let mut grouped = mounted(5, &[]);
        for (text, group) in [("", Some(None)), ("1000", Some(Some(1000))), ("wheel", None)] {
            let mount = MountVolume { volume_mount_group: text.to_owned(), ..Default::default() };
            grouped.access_type = Some(AccessType::Mount(mount));
            assert_eq!(capability(&grouped).ok().map(|capability| capability.group), group, "{text}");
        }
    }

    #[test]
    fn the_secrets_key_is_read_in_any_case_and_no_other() {
        let secrets = |key: &str| [(key.to_owned(), "hard".to_owned())].into();
        assert_eq!(secret_options(&secrets("MountOptions")).as_deref(), Some("hard"));
        assert_eq!(secret_options(&secrets("password")), None);
    }
}
