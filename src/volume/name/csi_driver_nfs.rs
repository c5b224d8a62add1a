//! Volume handles that csi-driver-nfs has written.
//!
//! The newest form has five parts, separated by `#`: the server; the share without slashes at its ends; the
//! directory; the name of the volume, which is empty if the directory has that name; and the policy, which is empty
//! for `delete`. Older forms have fewer parts. The oldest form is `server/share/directory`.

use crate::volume::name::export::Export;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::on_delete::OnDelete;

/// The content of a handle of csi-driver-nfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsiDriverNfsHandle {
    /// Server and share.
    pub export: Export,
    /// The volume's directory.
    pub sub_dir: SubDir,
    /// What happens to the directory when the volume is deleted; `None` if the handle does not say it.
    pub on_delete: Option<OnDelete>,
}

impl CsiDriverNfsHandle {
    /// Reads a handle. Returns `None` for any other text, and for a handle that names the share itself or a directory
    /// outside the share.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('#').collect();
        let (server, base, sub_dir, on_delete) = if parts.len() >= 3 {
            (parts[0], parts[1], parts[2], parts.get(4).copied().unwrap_or_default())
        } else if parts.len() == 1 {
            let (server, rest) = text.split_once('/')?;
            let (base, sub_dir) = rest.rsplit_once('/')?;
            (server, base, sub_dir, "")
        } else {
            return None;
        };
        Some(Self {
            export: Export::new(server, &format!("/{base}")).ok()?,
            sub_dir: SubDir::parse(sub_dir).ok()?,
            on_delete: OnDelete::parse(on_delete).ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_csi_driver_nfs_has_written_is_read() {
        for (text, export, sub_dir, on_delete) in [
            ("10.0.0.1#export/k8s#pvc-1##", "10.0.0.1:/export/k8s", "pvc-1", None),
            ("10.0.0.1#export#ns/claim#pvc-1#", "10.0.0.1:/export", "ns/claim", None),
            ("10.0.0.1##pvc-1##Retain", "10.0.0.1:/", "pvc-1", Some(OnDelete::Retain)),
            ("nas#a/b#sub#pvc-1#archive", "nas:/a/b", "sub", Some(OnDelete::Archive)),
            ("nas#export#pvc-1", "nas:/export", "pvc-1", None),
            ("nas#export#pvc-1#", "nas:/export", "pvc-1", None),
            ("nas/export/k8s/pvc-1", "nas:/export/k8s", "pvc-1", None),
        ] {
            let handle = CsiDriverNfsHandle::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(handle.export.to_string(), export, "{text}");
            assert_eq!(handle.sub_dir.as_str(), sub_dir, "{text}");
            assert_eq!(handle.on_delete, on_delete, "{text}");
        }
    }

    #[test]
    fn a_handle_that_names_the_share_itself_or_a_directory_outside_is_not_read() {
        for text in [
            "nas#share#",
            "nas#share##pvc#",
            "nfs-server.default.svc.cluster.local/share##",
            "nas#share#.#x#",
            "nas#share#..#x#",
            "nas#share#a/../../b#x#",
            "nas#share#/#x#",
            "nas#share#//#x#",
            "nas#share# #x#",
            "nas#share#a/..#x#",
            "nas#share#a\0b#x#",
            "nas#../etc#a#x#",
            "#share#a#x#",
            "nas#share#.nfs-subdir-csi/volumes#x#",
            "nas/../x/y",
            "nas//",
            "fake-vol-id",
        ] {
            assert_eq!(CsiDriverNfsHandle::parse(text), None, "{text:?}");
        }
    }
}
