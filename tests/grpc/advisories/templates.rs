//! Names of directories that a tenant can influence.

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use tonic::Code;

use crate::support::{capability, create, delete, publish};
use crate::{Driver, PARAMETERS};

/// nfs-subdir-external-provisioner #250, GHSA-jr3w-9vfr-c746 (local-path-provisioner): text from a tenant's claim was joined
/// to a path.
#[tokio::test]
async fn ghsa_jr3w_9vfr_c746_values_that_a_tenant_puts_into_a_template() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let long = "x".repeat(256);
    for template in
        ["${.PVC.namespace}/${.PVC.name}", "${pvc.metadata.name}", "x-${.PVC.name}", "${.PVC.name}-x"]
    {
        for bad in
            ["..", "../canary", "/etc", "a/../../canary", "a/b", "", ".", "/", "a\0", "a\nb", "\u{7f}", &long]
        {
            let claim = [
                ("subDir", template),
                ("csi.storage.k8s.io/pvc/name", bad),
                ("csi.storage.k8s.io/pvc/namespace", "tenant"),
                ("csi.storage.k8s.io/pv/name", "pvc-1"),
            ];
            let request = create("pvc-1", &[&PARAMETERS[..], &claim].concat());
            let status = controller.create_volume(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{template} {bad:?}: {}", status.message());
        }
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
    // Labels and annotations, which only the tenant writes. In the nfs-client provisioner, such a value could lead anywhere.
    for template in ["${.PVC.annotations.nfs.io/storage-path}", "x/${pvc.metadata.labels['team']}"] {
        for bad in ["..", "../canary", "/etc", "a/../../canary", "a/b", "", ".", "/", "a\0", "a\nb", &long] {
            driver.claims.put("claim", "", bad);
            let claim = [
                ("pathPattern", template),
                ("csi.storage.k8s.io/pvc/name", "claim"),
                ("csi.storage.k8s.io/pvc/namespace", "ns"),
            ];
            let request = create("pvc-1", &[&PARAMETERS[..], &claim].concat());
            let status = controller.create_volume(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{template} {bad:?}: {}", status.message());
        }
    }
}

/// The same advisory, with a valid name that is the name of another tenant's directory.
#[tokio::test]
async fn a_template_that_leads_to_another_tenants_directory() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let of = |namespace, claim| {
        let claim = [
            ("subDir", "${.PVC.namespace}-${.PVC.name}"),
            ("csi.storage.k8s.io/pvc/namespace", namespace),
            ("csi.storage.k8s.io/pvc/name", claim),
            ("csi.storage.k8s.io/pv/name", claim),
        ];
        [&PARAMETERS[..], &claim].concat()
    };
    controller.create_volume(create("pvc-1", &of("a", "b-c"))).await.unwrap();
    std::fs::write(driver.share().join("a-b-c/file"), "of a").unwrap();
    for other in [of("a-b", "c"), [&PARAMETERS[..], &[("subDir", "canary")]].concat()] {
        let status = controller.create_volume(create("pvc-2", &other)).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{}", status.message());
        let id = "nas:/srv#pvc-2".to_owned();
        controller
            .delete_volume(proto::DeleteVolumeRequest { volume_id: id, ..Default::default() })
            .await
            .unwrap();
    }
    assert_eq!(std::fs::read_to_string(driver.share().join("a-b-c/file")).unwrap(), "of a");
}

/// csi-driver-nfs #1118: `/out2` begins with `/out` and was therefore taken for a directory inside `/out`.
#[tokio::test]
async fn a_directory_whose_name_begins_with_the_name_of_another() {
    let driver = Driver::start().await;
    let (mut controller, mut node) = (driver.controller.controller.clone(), driver.node.node.clone());
    let mut volumes = Vec::new();
    for name in ["out", "out2", "out.d"] {
        volumes.push(
            controller.create_volume(create(name, &PARAMETERS)).await.unwrap().into_inner().volume.unwrap(),
        );
        std::fs::write(driver.share().join(name).join("file"), name).unwrap();
    }
    for volume in &volumes {
        let mut request = publish(volume, &driver.target(&volume.volume_context["subDir"]), &[]);
        request.volume_capability = Some(capability(Mode::SingleNodeSingleWriter, &[]));
        node.node_publish_volume(request).await.unwrap();
    }
    controller.delete_volume(delete(&volumes[0])).await.unwrap();
    for name in ["out2", "out.d"] {
        assert_eq!(std::fs::read_to_string(driver.share().join(name).join("file")).unwrap(), name);
    }
}
