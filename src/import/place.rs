//! Finds the directory of a PersistentVolume.

use crate::volume::name::csi_driver_nfs::CsiDriverNfsHandle;
use crate::volume::name::export::{Export, ExportRef};
use crate::volume::name::sub_dir::SubDir;
use crate::volume::policy::volume_context::VolumeContext;

use super::pvs::{Csi, PersistentVolume};
use super::rules::{Decision, Place, Rules};

/// A server and an absolute path on it.
struct Location {
    server: String,
    path: String,
}

impl Location {
    fn of(export: &Export, sub_dir: Option<&SubDir>) -> Self {
        let sub_dir = sub_dir.map(|sub_dir| format!("/{sub_dir}")).unwrap_or_default();
        Self { server: export.server().to_owned(), path: format!("{}{sub_dir}", export.share()) }
    }

    /// Whether both name the same directory. Repeated slashes make no difference.
    fn is(&self, other: &Self) -> bool {
        self.server.eq_ignore_ascii_case(&other.server) && components(&self.path).eq(components(&other.path))
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|component| !component.is_empty())
}

impl Rules {
    /// The directory of a PersistentVolume within the share, or why it is not imported.
    pub(super) fn place(&self, volume: &PersistentVolume) -> Result<Place, Decision> {
        if let Some(nfs) = &volume.source.nfs {
            let location = Location { server: nfs.server.clone(), path: nfs.path.clone() };
            return self.below(&location).map(|sub_dir| Place {
                sub_dir,
                on_delete: None,
                mount_options: None,
            });
        }
        match &volume.source.csi {
            Some(csi) if csi.driver == self.from_driver => self.place_of_csi(csi),
            Some(csi) => Err(Decision::NotOurs(format!("belongs to the CSI driver {}", csi.driver))),
            None => Err(Decision::NotOurs("not on NFS".to_owned())),
        }
    }

    /// The attributes decide, because csi-driver-nfs mounts the directory that they name, and the handle can be any text.
    /// If the handle names another directory than the attributes, one of them is wrong, and the operator has to find
    /// out which one.
    fn place_of_csi(&self, csi: &Csi) -> Result<Place, Decision> {
        let handle = CsiDriverNfsHandle::parse(&csi.volume_handle);
        let attributes = VolumeContext::parse(&csi.volume_attributes)
            .map_err(|error| Decision::Conflict(format!("volumeAttributes: {error}")))?;
        let by_handle = handle.as_ref().map(|handle| Location::of(&handle.export, Some(&handle.sub_dir)));
        let by_attributes = match &attributes.export {
            Some(ExportRef::Inline(export)) => Some(Location::of(export, attributes.sub_dir.as_ref())),
            Some(named @ ExportRef::Named(name)) if *named != self.id => {
                return Err(Decision::NotOurs(format!("on the export {name}")));
            }
            // A volume of this driver, which ran under the name of the old driver.
            Some(ExportRef::Named(_)) => Some(Location::of(&self.export, attributes.sub_dir.as_ref())),
            None => None,
        };
        if let (Some(handle), Some(attributes)) = (&by_handle, &by_attributes)
            && !handle.is(attributes)
        {
            return Err(Decision::Conflict(format!(
                "its handle names {}:{}, but its attributes name {}:{}",
                handle.server, handle.path, attributes.server, attributes.path
            )));
        }
        let Some(location) = by_attributes.or(by_handle) else {
            let reason =
                format!("neither the handle {:?} nor the attributes name a directory", csi.volume_handle);
            return Err(Decision::Conflict(reason));
        };
        let sub_dir = self.below(&location)?;
        let on_delete = handle.and_then(|handle| handle.on_delete);
        Ok(Place { sub_dir, on_delete, mount_options: attributes.mount_options })
    }

    fn below(&self, location: &Location) -> Result<SubDir, Decision> {
        // `Export` removes the brackets of an IPv6 address.
        let server = Export::new(&location.server, "/");
        if !server.is_ok_and(|server| server.server().eq_ignore_ascii_case(self.export.server())) {
            return Err(Decision::NotOurs(format!("on the server {}", location.server)));
        }
        let mut rest = components(&location.path);
        if components(self.export.share()).any(|component| rest.next() != Some(component)) {
            return Err(Decision::NotOurs(format!("not within {}: {}", self.export.share(), location.path)));
        }
        let rest: Vec<&str> = rest.collect();
        if rest.is_empty() {
            return Err(Decision::NotOurs("the share itself".to_owned()));
        }
        SubDir::parse(&rest.join("/")).map_err(|error| Decision::Conflict(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pvs::{
        self,
        tests::{CDN, SUB},
    };
    use super::*;
    use crate::volume::on_delete::OnDelete;

    fn rules() -> Rules {
        let export = Export::new("10.0.0.5", "/srv/k8s").unwrap();
        Rules {
            id: ExportRef::Inline(export.clone()),
            export,
            from_driver: "nfs.csi.k8s.io".to_owned(),
            on_delete: OnDelete::Retain,
        }
    }

    fn place(spec: &Value) -> Result<Place, Decision> {
        let json = json!({ "kind": "PersistentVolume", "metadata": { "name": "pv" }, "spec": spec });
        rules().place(&pvs::parse(json.to_string().as_bytes()).unwrap()[0])
    }

    fn csi(handle: &str, attributes: &Value) -> Result<Place, Decision> {
        place(
            &json!({ "csi": { "driver": "nfs.csi.k8s.io", "volumeHandle": handle, "volumeAttributes": attributes } }),
        )
    }

    fn in_tree(server: &str, path: &str) -> Result<Place, Decision> {
        place(&json!({ "nfs": { "server": server, "path": path } }))
    }

    fn dir(text: &str) -> SubDir {
        SubDir::parse(text).unwrap()
    }

    #[test]
    fn volumes_of_both_provisioners_are_found_as_kubectl_prints_them() {
        let read = |json: &str| rules().place(&pvs::parse(json.as_bytes()).unwrap()[0]).unwrap();
        assert_eq!(read(SUB).sub_dir, dir("shop-data-pvc-6f2d1c9e-0000-4000-8000-000000000001"));
        assert_eq!(read(SUB).on_delete, None);
        assert_eq!(read(CDN).sub_dir, dir("shop/media"));
        assert_eq!(read(CDN).on_delete, Some(OnDelete::Archive));
    }

    #[test]
    fn every_form_of_handle_is_read_with_its_attributes_and_without() {
        let new = |sub_dir: &str| json!({ "server": "10.0.0.5", "share": "/srv/k8s", "subdir": sub_dir });
        // Until version 4 the share of the attributes was the volume's directory.
        let old = json!({ "server": "10.0.0.5", "share": "/srv/k8s/pvc-1" });
        for (handle, attributes, sub_dir, on_delete) in [
            ("10.0.0.5#srv/k8s#pvc-1##", new("pvc-1"), "pvc-1", None),
            ("10.0.0.5#srv/k8s#ns/claim#pvc-1#", new("/ns/claim/"), "ns/claim", None),
            ("10.0.0.5#srv/k8s#pvc-1##Retain", new("pvc-1"), "pvc-1", Some(OnDelete::Retain)),
            ("10.0.0.5#srv/k8s#sub#pvc-1#archive", new("sub"), "sub", Some(OnDelete::Archive)),
            ("10.0.0.5#srv/k8s#pvc-1", new("pvc-1"), "pvc-1", None),
            ("10.0.0.5#srv/k8s#pvc-1#", new("pvc-1"), "pvc-1", None),
            ("10.0.0.5/srv/k8s/pvc-1", old, "pvc-1", None),
            // The StorageClass's share lies below the one that is taken over.
            ("10.0.0.5#srv/k8s/team#pvc-1##", json!({}), "team/pvc-1", None),
        ] {
            for attributes in [attributes, json!({})] {
                let place =
                    csi(handle, &attributes).unwrap_or_else(|decision| panic!("{handle}: {decision:?}"));
                assert_eq!((place.sub_dir, place.on_delete), (dir(sub_dir), on_delete), "{handle}");
            }
        }
        let by_hand = json!({ "Server": "10.0.0.5", "share": "/srv/k8s/", "subDir": "a/b", "mountOptions": "nfsvers=3" });
        let place = csi("any text at all", &by_hand).unwrap();
        assert_eq!(
            place,
            Place { sub_dir: dir("a/b"), on_delete: None, mount_options: Some("nfsvers=3".to_owned()) }
        );
    }

    #[test]
    fn a_handle_and_attributes_that_disagree_are_a_conflict() {
        for attributes in [
            json!({ "server": "10.0.0.5", "share": "/srv/k8s", "subdir": "other" }),
            json!({ "server": "10.0.0.5", "share": "/srv/k8s" }),
            json!({ "server": "10.0.0.6", "share": "/srv/k8s", "subdir": "pvc-1" }),
        ] {
            let decision = csi("10.0.0.5#srv/k8s#pvc-1##", &attributes).unwrap_err();
            assert!(
                matches!(&decision, Decision::Conflict(reason) if reason.contains("but its attributes name")),
                "{decision:?}"
            );
        }
        assert!(matches!(csi("nothing", &json!({})), Err(Decision::Conflict(_))));
    }

    #[test]
    fn what_lies_elsewhere_is_left_alone_and_what_leads_out_is_a_conflict() {
        for (server, path) in [
            ("10.0.0.6", "/srv/k8s/a"),
            ("10.0.0.5,evil", "/srv/k8s/a"),
            ("10.0.0.5", "/srv/k8s"),
            ("10.0.0.5", "/srv/k8s/"),
            ("10.0.0.5", "/srv/k8sx/a"),
            ("10.0.0.5", "/srv"),
            ("10.0.0.5", "/srv/../srv/k8s/a"),
            ("10.0.0.5", ""),
        ] {
            assert!(matches!(in_tree(server, path), Err(Decision::NotOurs(_))), "{server} {path}");
        }
        for path in [
            "/srv/k8s/..",
            "/srv/k8s/../etc",
            "/srv/k8s/a/../../b",
            "/srv/k8s/.",
            "/srv/k8s/a\n",
            "/srv/k8s/.nfs-subdir-csi/volumes",
            "/srv/k8s/ ",
        ] {
            assert!(matches!(in_tree("10.0.0.5", path), Err(Decision::Conflict(_))), "{path}");
        }
        for handle in ["10.0.0.5#srv/k8s#..##", "10.0.0.5#srv/k8s###", "10.0.0.5#srv/k8s#a/../../b##"] {
            assert!(matches!(csi(handle, &json!({})), Err(Decision::Conflict(_))), "{handle}");
        }
        let hostile = json!({ "server": "10.0.0.5", "share": "/srv/k8s", "subdir": "../x" });
        assert!(matches!(csi("10.0.0.5#srv/k8s#../x##", &hostile), Err(Decision::Conflict(_))));
        assert_eq!(in_tree("[10.0.0.5]", "//srv//k8s//a/").unwrap().sub_dir, dir("a"));
        let other = json!({ "csi": { "driver": "ebs.csi.aws.com", "volumeHandle": "vol-1" } });
        assert!(matches!(place(&other), Err(Decision::NotOurs(_))));
        assert!(matches!(place(&json!({ "hostPath": { "path": "/x" } })), Err(Decision::NotOurs(_))));
    }
}
