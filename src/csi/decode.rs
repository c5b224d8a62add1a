//! From protobuf to the domain's types: required fields, capabilities, ranges. Pure functions.

use crate::linux::nfs_options::{self, BindFlags, NfsOptions};
use crate::volume::capacity::CapacityRange;
use crate::volume::{AccessMode, Error, Result};

use super::proto;
use super::proto::volume_capability::access_mode::Mode;
use super::proto::volume_capability::{AccessType, MountVolume};

/// How a volume is to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// By how many, and how.
    pub access: AccessMode,
    /// Options of the export mount.
    pub options: NfsOptions,
    /// Flags of the bind.
    pub flags: BindFlags,
}

/// A field that must not be empty.
pub fn required<'a>(field: &'static str, value: &'a str) -> Result<&'a str> {
    if value.is_empty() { Err(Error::Missing(field)) } else { Ok(value) }
}

/// One capability.
pub fn capability(capability: &proto::VolumeCapability) -> Result<Capability> {
    let mount = match &capability.access_type {
        Some(AccessType::Mount(mount)) => mount,
        Some(AccessType::Block(_)) => {
            let reason =
                "an NFS volume is a directory; it cannot be had as a block device (volumeMode: Block)";
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
            let reason = format!("access mode {} is none that CSI 1.12 defines", mode.mode);
            return Err(Error::invalid("volume_capability.access_mode", reason));
        }
    };
    let MountVolume { mount_flags, .. } = mount;
    let (options, mut flags) = nfs_options::parse(mount_flags)?;
    flags.read_only |= access.is_read_only();
    Ok(Capability { access, options, flags })
}

/// All capabilities of a volume; at least one.
pub fn capabilities(list: &[proto::VolumeCapability]) -> Result<Vec<Capability>> {
    if list.is_empty() {
        return Err(Error::Missing("volume_capabilities"));
    }
    list.iter().map(capability).collect()
}

/// A capacity range; without one, any.
pub fn capacity_range(range: Option<&proto::CapacityRange>) -> Result<CapacityRange> {
    range.map_or(Ok(CapacityRange::default()), |range| {
        CapacityRange::new(range.required_bytes, range.limit_bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::volume_capability::{AccessMode as ProtoMode, BlockVolume};

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
            assert_eq!(capability(&mounted(mode, &[])).unwrap().flags.read_only, read_only, "{mode}");
        }
        for mode in [0, 8, -1] {
            assert!(capability(&mounted(mode, &[])).is_err(), "{mode}");
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
    fn mount_flags_reach_the_mount_and_the_bind() {
        let capability = capability(&mounted(5, &["nfsvers=4.1", "nosuid"])).unwrap();
        assert_eq!(capability.options.version.unwrap().to_string(), "4.1");
        assert!(capability.flags.nosuid && !capability.flags.read_only);
    }
}
