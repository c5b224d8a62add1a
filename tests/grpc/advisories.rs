//! What went wrong in other drivers, advisory by advisory, tried on this one. Each row is named after the advisory, or
//! its cause where there is none. Whatever is answered, the canaries of the fixture stay as they are.

use std::os::unix::fs::symlink;
use std::path::Path;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::volume_capability::access_mode::Mode;
use nfs_subdir_csi::volume::policy::settings::{InlineServers, ServerPattern, Settings};
use proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
use tonic::{Code, Status};

use super::support::{capability, create, map, publish, unpublish};
use super::{Driver, PARAMETERS};

/// What each call that takes a volume's handle answers.
struct Answers {
    delete: Result<(), Status>,
    /// The calls that need a volume.
    others: Vec<Result<(), Status>>,
}

/// Hands a handle to every call that takes one.
async fn ask_all(driver: &Driver, id: &str) -> Answers {
    let (mut controller, mut node) = (driver.controller.controller.clone(), driver.node.node.clone());
    let volume_id = id.to_owned();
    let get = proto::ControllerGetVolumeRequest { volume_id: volume_id.clone() };
    let expand = proto::ControllerExpandVolumeRequest {
        volume_id: volume_id.clone(),
        capacity_range: Some(proto::CapacityRange { required_bytes: 1, limit_bytes: 0 }),
        ..Default::default()
    };
    let modify = proto::ControllerModifyVolumeRequest {
        volume_id: volume_id.clone(),
        mutable_parameters: map(&[("mountPermissions", "0777"), ("uid", "0")]),
        ..Default::default()
    };
    let validate = proto::ValidateVolumeCapabilitiesRequest {
        volume_id: volume_id.clone(),
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter, &[])],
        ..Default::default()
    };
    let target = driver.target("attacked");
    let stats = proto::NodeGetVolumeStatsRequest {
        volume_id: volume_id.clone(),
        volume_path: target.to_str().unwrap().to_owned(),
        ..Default::default()
    };
    let volume = proto::Volume { volume_id, ..Default::default() };
    let others = vec![
        controller.controller_get_volume(get).await.map(drop),
        controller.controller_expand_volume(expand).await.map(drop),
        controller.controller_modify_volume(modify).await.map(drop),
        controller.validate_volume_capabilities(validate).await.map(drop),
        node.node_publish_volume(publish(&volume, &target, &[])).await.map(drop),
        node.node_get_volume_stats(stats).await.map(drop),
    ];
    node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap();
    let delete = proto::DeleteVolumeRequest { volume_id: volume.volume_id, ..Default::default() };
    Answers { delete: controller.delete_volume(delete).await.map(drop), others }
}

/// Deletion is done at once, and every other call finds no volume.
async fn assert_finds_nothing(driver: &Driver, id: &str) {
    let answers = ask_all(driver, id).await;
    assert!(answers.delete.is_ok(), "{id:?}: {:?}", answers.delete);
    for answer in answers.others {
        let code = answer.expect_err(id).code();
        assert!(matches!(code, Code::NotFound | Code::InvalidArgument), "{id:?}: {code:?}");
    }
    assert!(driver.published().is_empty());
}

/// As [`assert_finds_nothing`], and no server is asked: the text is no handle.
async fn assert_names_nothing(driver: &Driver, id: &str) {
    let before = driver.mounter.export_mounts();
    assert_finds_nothing(driver, id).await;
    assert_eq!(driver.mounter.export_mounts(), before, "{id:?}: a server was asked");
}

#[tokio::test]
async fn cve_2026_3864_dots_in_any_field_of_a_handle() {
    let driver = Driver::start().await;
    for bad in
        ["..", "../canary", "a/../../canary", "canary/..", "../..", "./..", "\0", "../canary\0", "canary/."]
    {
        for id in [
            format!("nas#srv#{bad}##"),
            format!("nas#srv#{bad}#pvc-1#retain"),
            format!("nas#{bad}#pvc-1##"),
            format!("nas#srv#{bad}"),
            format!("nas/srv/{bad}/.."),
            format!("nas:/srv#{bad}"),
            format!("nas:/{bad}#pvc-1"),
            format!("{bad}#pvc-1"),
        ] {
            assert_names_nothing(&driver, &id).await;
        }
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
    // Nobody decodes these: they are ordinary names of directories that are not there.
    for id in ["nas#srv#%2e%2e%2fcanary##", "nas#srv#%2e%2e##", "nas:/srv#..%2fcanary"] {
        assert_finds_nothing(&driver, id).await;
    }
}

#[tokio::test]
async fn cve_2026_3864_dots_in_a_volumes_attributes() {
    let driver = Driver::start().await;
    let mut node = driver.node.node.clone();
    for (key, bad) in [
        ("subDir", ".."),
        ("subDir", "../canary"),
        ("subDir", "a/../../canary"),
        ("subDir", "canary/.."),
        ("subDir", "canary/../v.canary"),
        ("subDir", "a\0b"),
        ("subDir", "/"),
        ("share", "/srv/.."),
        ("share", "/srv/../etc"),
        ("share", "srv"),
    ] {
        let mut context = map(&[PARAMETERS[0], PARAMETERS[1], ("subDir", "canary")]);
        context.insert(key.to_owned(), bad.to_owned());
        for direct in ["false", "true"] {
            context.insert("directMount".to_owned(), direct.to_owned());
            let volume = proto::Volume {
                volume_id: "v".to_owned(),
                volume_context: context.clone(),
                ..Default::default()
            };
            let request = publish(&volume, &driver.target("a"), &[]);
            let status = node.node_publish_volume(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{key}: {bad:?}: {}", status.message());
        }
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
}

/// csi-driver-nfs #1179: the fourth part of a handle was joined to a path without a check.
#[tokio::test]
async fn a_field_of_the_handle_that_was_forgotten() {
    let driver = Driver::start().await;
    for field in ["..", "../canary", "/", "", ".", "canary"] {
        assert_finds_nothing(&driver, &format!("nas#srv#absent#{field}#")).await;
        assert_finds_nothing(&driver, &format!("nas#srv#absent#{field}#archive#more#{field}")).await;
    }
}

/// csi-driver-nfs #1241: snapshots' handles had a parser of their own, without the checks.
#[tokio::test]
async fn a_second_parser_without_the_checks_of_the_first() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    for id in ["..", "nas#srv#../canary#x#y", "nas:/srv#../canary", "../canary", "/etc", "", "nas#srv##x#"] {
        let id = id.to_owned();
        for source in [
            Type::Volume(VolumeSource { volume_id: id.clone() }),
            Type::Snapshot(SnapshotSource { snapshot_id: id.clone() }),
        ] {
            let mut request = create("v", &PARAMETERS);
            request.volume_content_source = Some(proto::VolumeContentSource { r#type: Some(source) });
            let code = controller.create_volume(request).await.unwrap_err().code();
            assert!(matches!(code, Code::InvalidArgument | Code::NotFound), "{id:?}: {code:?}");
            assert!(!driver.share().join("v").exists());
        }
    }
}

/// csi-driver-nfs bb96fc8c: an empty part made the volume's path that of the share, which was then removed.
#[tokio::test]
async fn an_empty_part_of_a_handle_that_names_the_share_itself() {
    let driver = Driver::start().await;
    for id in [
        "nas#srv#",
        "nas#srv##",
        "nas#srv##pvc-1#",
        "nas#srv#.#pvc-1#",
        "nas#srv#/#pvc-1#",
        "nas#srv#//#pvc-1#",
        "nas#srv# #pvc-1#",
        "nas#srv#\t#pvc-1#",
        "nas#srv#canary/#pvc-1#",
        "nas#srv#/canary#pvc-1#",
        "nas#srv#a//b#pvc-1#",
        "nas/srv/",
        "nas//",
        "nas:/srv#",
        "nas:/srv#.",
        "nas:/srv# ",
        "#",
        "##",
        "#####",
        "/",
        " ",
    ] {
        assert_names_nothing(&driver, id).await;
    }
}

/// csi-driver-nfs cea8bb8c, 4f10eb9d: `\` between components; a class's share was taken as it came.
#[tokio::test]
async fn backslashes_and_the_classs_own_share() {
    let driver = Driver::start().await;
    for id in ["nas#srv#..\\..\\canary##", "nas#srv#..\\canary##", "nas#srv#\\##"] {
        assert_finds_nothing(&driver, id).await;
    }
    assert_names_nothing(&driver, "nas:/srv#..\\canary").await;
    for share in ["/srv/..", "/../srv", "/srv/./x/..", "srv", "", "/srv\n", "/srv#x", "..", "\\srv"] {
        let request = create("v", &[("server", "nas"), ("share", share)]);
        let status = driver.controller.controller.clone().create_volume(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{share:?}");
    }
}

/// nfs-subdir-external-provisioner #250, GHSA-jr3w-9vfr-c746 (local-path-provisioner): what a tenant writes into a claim
/// was joined to a path.
#[tokio::test]
async fn ghsa_jr3w_9vfr_c746_a_template_filled_in_by_a_tenant() {
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
    // What only a tenant can write is not to be had at all.
    for (template, word) in [
        (
            "${.PVC.annotations.nfs.io/storage-path}",
            "labels and annotations of a claim are not passed to CSI drivers",
        ),
        ("${.PVC.labels.team}/x", "labels and annotations of a claim are not passed to CSI drivers"),
        (
            "${pvc.metadata.annotations['path']}",
            "labels and annotations of a claim are not passed to CSI drivers",
        ),
    ] {
        let request = create("pvc-1", &[&PARAMETERS[..], &[("pathPattern", template)]].concat());
        let status = controller.create_volume(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(word), "{}", status.message());
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
}

/// The same again: another tenant's directory, by a name that is right in itself.
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

/// democratic-csi #541: the handle was the path.
#[tokio::test]
async fn a_handle_that_is_a_path() {
    let driver = Driver::start().await;
    for id in
        ["../canary", "../../etc", "/etc", "canary", "./canary", "canary/claim", "~", "*", "${PWD}", "-rf"]
    {
        assert_names_nothing(&driver, id).await;
    }
}

/// csi-driver-host-path #644: the same where the volume is a pod's own.
#[tokio::test]
async fn a_handle_of_an_ephemeral_volume_that_is_a_path() {
    let inline_servers = InlineServers::Listed(vec![ServerPattern::parse("nas")]);
    let settings = Settings { ephemeral_volumes: true, inline_servers, ..Settings::default() };
    let driver = Driver::start_with(settings).await;
    let mut node = driver.node.node.clone();
    let hostile = ["..", "../../canary", "/etc", "a/../../..", ".", "canary", "\0", "a\nb", "-rf", " "];
    for id in hostile {
        let context = [PARAMETERS[0], PARAMETERS[1], ("csi.storage.k8s.io/ephemeral", "true")];
        let volume =
            proto::Volume { volume_id: id.to_owned(), volume_context: map(&context), ..Default::default() };
        let target = driver.target("a");
        node.node_publish_volume(publish(&volume, &target, &[])).await.unwrap();
        let folder = driver.share().join(".nfs-subdir-csi/ephemeral");
        assert_eq!(folder.read_dir().unwrap().count(), 1, "{id:?}: one directory, and there");
        node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap();
        assert_eq!(folder.read_dir().unwrap().count(), 0, "{id:?}");
    }
}

/// kubelet CVE-2017-1002101 and CVE-2021-25741: a link in the volume's place, or above it. (While the driver works, and
/// on the kernel's NFS client: `tests/kernel/races.rs` and `hostile.rs`.)
#[tokio::test]
async fn cve_2017_1002101_a_link_that_a_tenant_has_put_there() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let absolute = driver.share().with_file_name("canary");
    for (policy, swapped) in [("delete", "ns/v"), ("archive", "ns/v"), ("delete", "ns"), ("archive", "ns")] {
        for to in
            [Path::new("../canary"), Path::new("canary"), &absolute, Path::new("."), Path::new("dangling")]
        {
            let what = format!("{policy}, {swapped} -> {}", to.display());
            let parameters = [&PARAMETERS[..], &[("subDir", "ns/v"), ("onDelete", policy)]].concat();
            let request = create("v", &parameters);
            let volume = controller.create_volume(request).await.unwrap().into_inner().volume.unwrap();
            let (place, aside) = (driver.share().join(swapped), driver.share().join("aside"));
            std::fs::rename(&place, &aside).unwrap();
            symlink(to, &place).unwrap();

            let Answers { delete, others } = ask_all(&driver, &volume.volume_id).await;
            for (call, answer) in [("delete", &delete), ("modify", &others[2]), ("publish", &others[4])] {
                let code = answer.as_ref().unwrap_err().code();
                assert_eq!(code, Code::FailedPrecondition, "{call}: {what}");
            }
            assert!(driver.published().is_empty() && place.is_symlink(), "{what}");
            // Nor is a new volume made in a place that a link leads to.
            let below = [&PARAMETERS[..], &[("subDir", "ns/v/new")]].concat();
            let status = controller.create_volume(create("new", &below)).await.unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition, "create: {what}");

            std::fs::remove_file(&place).unwrap();
            std::fs::rename(&aside, &place).unwrap();
            for id in [&volume.volume_id, "nas:/srv#new"] {
                let request = proto::DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() };
                controller.delete_volume(request).await.unwrap();
            }
            assert!(!driver.share().join("ns").exists(), "{what}");
        }
    }
}

/// csi-driver-nfs #364: any pod's author could mount any server.
#[tokio::test]
async fn a_pod_that_names_a_server_of_its_own() {
    let own = [("csi.storage.k8s.io/ephemeral", "true"), PARAMETERS[0], PARAMETERS[1]];
    let ask = async |settings: Settings, more: &[(&str, &str)]| {
        let driver = Driver::start_with(settings).await;
        let volume = proto::Volume {
            volume_id: "csi-1".to_owned(),
            volume_context: map(&[&own[..], more].concat()),
            ..Default::default()
        };
        let mut node = driver.node.node.clone();
        let target = driver.target("a");
        let answer = node.node_publish_volume(publish(&volume, &target, &[])).await.map(drop);
        assert_eq!(driver.mounter.export_mounts(), usize::from(answer.is_ok()));
        if answer.is_ok() {
            node.node_unpublish_volume(unpublish(&volume, &target)).await.unwrap();
        }
        answer.map_err(|status| status.code())
    };
    let allowed = |servers: InlineServers| Settings {
        ephemeral_volumes: true,
        inline_servers: servers,
        ..Settings::default()
    };
    let listed = |server: &str| allowed(InlineServers::Listed(vec![ServerPattern::parse(server)]));
    assert_eq!(ask(Settings::default(), &[]).await, Err(Code::FailedPrecondition), "off");
    assert_eq!(ask(allowed(InlineServers::Any), &[]).await, Err(Code::FailedPrecondition), "no list");
    assert_eq!(ask(listed("other"), &[]).await, Err(Code::FailedPrecondition), "not on the list");
    assert_eq!(ask(listed("nas"), &[]).await, Ok(()));
    for more in [("mountOptions", "suid"), ("subDir", "canary"), ("directMount", "true")] {
        assert_eq!(ask(listed("nas"), &[more]).await, Err(Code::InvalidArgument), "{more:?}");
    }
}

/// aws-efs-csi-driver #1844: an address went into the mount options as it came.
#[tokio::test]
async fn an_option_smuggled_in_with_a_name_or_an_address() {
    let driver = Driver::start().await;
    let (mut controller, mut node) = (driver.controller.controller.clone(), driver.node.node.clone());
    let fields = [
        ("server", "nas,addr=10.6.6.6"),
        ("server", "nas addr=10.6.6.6"),
        ("server", "nas\nx"),
        ("server", "nas\0"),
        ("server", "nas\\,x"),
        ("server", "-o"),
        ("server", ""),
        ("server", "nas:/other"),
        ("server", "nas#x"),
        ("share", "/srv\n"),
        ("share", "/srv\0/x"),
        ("share", "/srv\r"),
        ("share", "/srv#x"),
        ("mountOptions", "hard\naddr=10.6.6.6"),
        ("mountOptions", "addr=10.6.6.6"),
        ("mountOptions", "hard,addr=10.6.6.6"),
        ("mountOptions", "mountaddr=10.6.6.6"),
        ("mountOptions", "mounthost=evil"),
        ("mountOptions", "vers=4.2\0"),
    ];
    for (key, bad) in fields {
        let mut context = map(&[PARAMETERS[0], PARAMETERS[1], ("subDir", "canary")]);
        context.insert(key.to_owned(), bad.to_owned());
        let volume =
            proto::Volume { volume_id: "v".to_owned(), volume_context: context, ..Default::default() };
        let request = publish(&volume, &driver.target("a"), &[]);
        let status = node.node_publish_volume(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{key}: {bad:?}: {}", status.message());

        let mut request = create("v", &PARAMETERS);
        if key == "mountOptions" {
            request.volume_capabilities = vec![capability(Mode::MultiNodeMultiWriter, &[bad])];
        } else {
            request.parameters.insert(key.to_owned(), bad.to_owned());
        }
        let status = controller.create_volume(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{key}: {bad:?}: {}", status.message());
        let mut request = create("v", &PARAMETERS);
        request.secrets = map(&[("mountOptions", bad)]);
        if key == "mountOptions" {
            let status = controller.create_volume(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "secret: {bad:?}");
        }
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
}

/// aws-efs-csi-driver #1926: a forged handle deleted what belonged to somebody else.
#[tokio::test]
async fn a_forged_handle_of_something_that_the_driver_did_not_make() {
    let driver = Driver::start().await;
    for id in ["nas:/srv#canary", "nas:/srv#v.canary", "nas:/srv#volumes"] {
        assert_finds_nothing(&driver, id).await;
    }
}

/// csi-driver-nfs: `server` was taken as it came, so that a PersistentVolume could have the controller mount anything.
#[tokio::test]
async fn a_forged_volume_on_an_attackers_server() {
    let listed = InlineServers::Listed(vec![ServerPattern::parse("*.lab.example")]);
    let driver = Driver::start_with(Settings { inline_servers: listed, ..Settings::default() }).await;
    for id in
        ["nas#srv#canary##", "nas#srv#canary", "nas/srv/canary", "nas:/srv#canary", "lab.example:/srv#v"]
    {
        let Answers { delete, others } = ask_all(&driver, id).await;
        assert_eq!(delete.unwrap_err().code(), Code::FailedPrecondition, "{id}");
        for (number, answer) in others.into_iter().enumerate() {
            // Stats are of what is published, whatever its handle.
            let code = if number == 5 { Code::NotFound } else { Code::FailedPrecondition };
            assert_eq!(answer.unwrap_err().code(), code, "{id}, call {number}");
        }
    }
    assert_eq!(driver.mounter.export_mounts(), 0);
}

/// csi-driver-nfs #1118: `/out2` began with `/out`, and so counted as inside of it.
#[tokio::test]
async fn a_directory_whose_name_begins_with_anothers() {
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
    controller.delete_volume(super::support::delete(&volumes[0])).await.unwrap();
    for name in ["out2", "out.d"] {
        assert_eq!(std::fs::read_to_string(driver.share().join(name).join("file")).unwrap(), name);
    }
}
