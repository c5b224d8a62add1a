//! The command `import` on a share that it mounts itself. `tests/import.rs` tests its decisions.

use std::fs;
use std::process::Command;

use nfs_subdir_csi::csi::proto::{ControllerExpandVolumeRequest, Volume};

use crate::fixture::{Driver, answer, binary, mounts, server, text};
use crate::support;

#[tokio::test]
async fn an_imported_volume_is_published_expanded_and_deleted_like_any_other() {
    let driver = Driver::start().await;
    let old = server::exported("/share/default-data-pvc-1");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("file"), "old data").unwrap();
    let pvs = driver.dir().join("pvs.json");
    let pv = r#"{"items": [{"metadata": {"name": "pvc-1"}, "spec": {
        "capacity": {"storage": "1Gi"}, "nfs": {"server": "nfs-server", "path": "/share/default-data-pvc-1"}}}]}"#;
    fs::write(&pvs, pv).unwrap();
    let (manifests, state_dir) = (driver.dir().join("new.json"), driver.dir().join("import"));
    let mut import = Command::new(binary());
    import.args(["import", "--server", "nfs-server", "--share", "/share", "--on-delete", "archive", "--yes"]);
    import.args(["--pvs", text(&pvs), "--manifests", text(&manifests), "--state-dir", text(&state_dir)]);
    let table = server::run(&mut import);
    assert!(table.contains("default-data-pvc-1  1Gi       archive    imported"), "{table}");
    assert_eq!(mounts::superblocks(), 0, "import has unmounted the share");

    let manifests: serde_json::Value = serde_json::from_slice(&fs::read(&manifests).unwrap()).unwrap();
    let csi = &manifests["items"][0]["spec"]["csi"];
    let attribute =
        |(key, value): (&String, &serde_json::Value)| (key.clone(), value.as_str().unwrap().to_owned());
    let volume = Volume {
        volume_id: csi["volumeHandle"].as_str().unwrap().to_owned(),
        volume_context: csi["volumeAttributes"].as_object().unwrap().iter().map(attribute).collect(),
        ..Default::default()
    };
    let target = driver.publish(&volume, "a", &[]).await;
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "old data");
    let expand = ControllerExpandVolumeRequest {
        volume_id: volume.volume_id.clone(),
        capacity_range: support::create("", &[]).capacity_range.map(|mut range| {
            range.required_bytes *= 2;
            range
        }),
        ..Default::default()
    };
    let expanded = answer(driver.controller_client().controller_expand_volume(expand)).await.unwrap();
    assert_eq!(expanded.capacity_bytes, 2 << 30);
    driver.unpublish(&volume, &target).await.unwrap();
    driver.delete(&volume).await.unwrap();
    let archived = server::exported("/share/archived-default-data-pvc-1/file");
    assert_eq!(fs::read_to_string(archived).unwrap(), "old data");
}
