//! Directories whose names contain labels or annotations of the claim.

use crate::linux::step;
use crate::volume::controller::create::NewVolume;
use crate::volume::error::{Error, Result};
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::state_dir::StateDir;
use crate::volume::volumes::Volumes;

/// The length of a UID of Kubernetes.
const UID: usize = 36;

impl Volumes {
    /// The directory of a volume whose template uses labels or annotations. If the volume exists, this is its directory, whatever the claim
    /// says by now. Otherwise the API server is asked once.
    pub(super) fn sub_dir_by_claim(
        &self,
        state: &StateDir,
        key: &VolumeKey,
        new: &NewVolume,
    ) -> Result<SubDir> {
        if let Some(record) = state.read(key)? {
            return Ok(record.sub_dir);
        }
        let names = &new.parameters.names;
        let (Some(namespace), Some(name)) = (&names.pvc_namespace, &names.pvc_name) else {
            return Err(Error::invalid(
                "subDir",
                "labels and annotations are those of a claim, and its name is not known: the csi-provisioner must run with \
                 --extra-create-metadata",
            ));
        };
        let _waits = step::pause(format!("the API server, which was asked for the claim {namespace}/{name}"));
        let claim = self.claims.read(namespace, name)?.ok_or_else(|| {
            Error::Precondition(format!("the claim {namespace}/{name} does not exist; its labels and annotations are needed for subDir"))
        })?;
        match uid_in(&new.name) {
            Some(uid) if !claim.uid.is_empty() && uid != claim.uid => Err(Error::Precondition(format!(
                "the claim {namespace}/{name} was deleted and made anew: volume {:?} is not for the one with the UID {}",
                new.name, claim.uid
            ))),
            _ => new.parameters.sub_dir_of(&new.name, Some(&claim)),
        }
    }
}

/// The UID of the claim at the end of the name that the csi-provisioner gives a volume by default: `pvc-<uid>`.
fn uid_in(volume: &str) -> Option<&str> {
    let uid = volume.get(volume.len().checked_sub(UID)?..)?;
    let is_uid = uid.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::uid_in;

    #[test]
    fn the_name_of_a_volume_ends_with_the_uid_of_its_claim() {
        let uid = "6f2d1c9e-0000-4000-8000-00000000000a";
        assert_eq!(uid_in(&format!("pvc-{uid}")), Some(uid));
        for other in ["pvc-1", "", "pvc-6f2d1c9e-0000-4000-8000-00000000000g", "é".repeat(30).as_str()] {
            assert_eq!(uid_in(other), None, "{other}");
        }
    }
}
