//! What the services say about the health of volumes and exports. `tests/kernel/health.rs` tests it with a real server.

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::{StorageHealthErrorType, VolumeHealthErrorType};
use tonic::Code;

use crate::support::{create, publish};
use crate::{Driver, PARAMETERS};

/// Makes a volume that is old enough to be called sick without a directory.
async fn old_volume(driver: &Driver, name: &str) -> proto::Volume {
    let mut controller = driver.controller.controller.clone();
    let volume =
        controller.create_volume(create(name, &PARAMETERS)).await.unwrap().into_inner().volume.unwrap();
    let record = driver.share().join(format!(".nfs-subdir-csi/volumes/{name}.json"));
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    json["created"] = 1.into();
    std::fs::write(record, json.to_string()).unwrap();
    volume
}

fn statuses(health: &proto::VolumeHealth) -> Vec<(VolumeHealthErrorType, &str)> {
    health.health_statuses.iter().map(|entry| (entry.status(), entry.reason.as_str())).collect()
}

async fn of_controller(driver: &Driver, volume_id: &str) -> Result<proto::VolumeHealth, tonic::Status> {
    let request =
        proto::ControllerGetVolumeHealthRequest { volume_id: volume_id.to_owned(), ..Default::default() };
    let answer = driver.controller.controller.clone().controller_get_volume_health(request).await?;
    Ok(answer.into_inner().volume_health.unwrap())
}

async fn of_node(driver: &Driver, volume_id: &str, path: &str) -> Result<proto::VolumeHealth, tonic::Status> {
    let request = proto::NodeGetVolumeHealthRequest {
        volume_id: volume_id.to_owned(),
        volume_publish_path: path.to_owned(),
        ..Default::default()
    };
    let answer = driver.node.node.clone().node_get_volume_health(request).await?;
    Ok(answer.into_inner().volume_health.unwrap())
}

async fn of_storage(driver: &Driver) -> Vec<proto::node_get_storage_health_response::StorageBackendHealth> {
    let request = proto::NodeGetStorageHealthRequest::default();
    driver.node.node.clone().node_get_storage_health(request).await.unwrap().into_inner().backend_health
}

#[tokio::test]
async fn a_volume_without_its_directory_is_inaccessible_and_one_with_it_is_well() {
    let driver = Driver::start().await;
    let volume = old_volume(&driver, "v").await;
    let health = of_controller(&driver, &volume.volume_id).await.unwrap();
    assert_eq!((health.volume_id.as_str(), statuses(&health)), (volume.volume_id.as_str(), Vec::new()));
    assert_eq!(statuses(&of_node(&driver, &volume.volume_id, "").await.unwrap()), []);

    std::fs::remove_dir(driver.share().join("v")).unwrap();
    for health in
        [of_controller(&driver, &volume.volume_id).await, of_node(&driver, &volume.volume_id, "").await]
    {
        let health = health.unwrap();
        assert_eq!(statuses(&health), [(VolumeHealthErrorType::Inaccessible, "DirectoryGone")]);
        let message = &health.health_statuses[0].message;
        assert!(message.contains("nas:/srv/v does not exist"), "{message}");
    }
    for id in ["nas:/srv#none", "any text"] {
        assert_eq!(of_controller(&driver, id).await.unwrap_err().code(), Code::NotFound, "{id}");
        assert_eq!(of_node(&driver, id, "/no/target").await.unwrap_err().code(), Code::NotFound, "{id}");
    }
    for answer in [of_controller(&driver, "").await, of_node(&driver, "", "").await] {
        assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_volume_that_is_just_being_made_is_not_called_sick() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    controller.create_volume(create("v", &PARAMETERS)).await.unwrap();
    std::fs::remove_dir(driver.share().join("v")).unwrap();
    assert_eq!(statuses(&of_controller(&driver, "nas:/srv#v").await.unwrap()), []);
}

#[tokio::test]
async fn the_list_has_sick_volumes_only_page_by_page_and_refuses_a_token_that_is_none() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    for number in 0..9 {
        old_volume(&driver, &format!("v{number}")).await;
        if number % 2 == 1 {
            std::fs::remove_dir(driver.share().join(format!("v{number}"))).unwrap();
        }
    }
    for limit in [0, 1, 2, 3, 4] {
        let (mut listed, mut token) = (Vec::new(), String::new());
        loop {
            let request = proto::ControllerListVolumeHealthRequest {
                max_entries: limit,
                starting_token: token,
                ..Default::default()
            };
            let page = controller.controller_list_volume_health(request).await.unwrap().into_inner();
            assert!(limit == 0 || page.entries.len() <= usize::try_from(limit).unwrap());
            for health in page.entries {
                assert_eq!(statuses(&health), [(VolumeHealthErrorType::Inaccessible, "DirectoryGone")]);
                listed.push(health.volume_id);
            }
            token = page.next_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(
            listed,
            ["nas:/srv#v1", "nas:/srv#v3", "nas:/srv#v5", "nas:/srv#v7"],
            "{limit} entries a page"
        );
    }
    for (token, entries, code) in
        [("nonsense", 0, Code::Aborted), ("other:/srv#v1", 0, Code::Aborted), ("", -1, Code::InvalidArgument)]
    {
        let request = proto::ControllerListVolumeHealthRequest {
            max_entries: entries,
            starting_token: token.to_owned(),
            ..Default::default()
        };
        let status = controller.controller_list_volume_health(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{token} {entries}: {}", status.message());
    }
}

#[tokio::test]
async fn exports_that_do_not_answer_are_one_entry_until_they_answer_again() {
    let driver = Driver::start().await;
    let mut volume = old_volume(&driver, "v").await;
    assert!(of_storage(&driver).await.is_empty(), "nothing is known of exports that nobody has used");
    for server in ["dead-1", "dead-2"] {
        volume.volume_context.insert("server".to_owned(), server.to_owned());
        let request = publish(&volume, &driver.target(server), &[]);
        driver.node.node.clone().node_publish_volume(request).await.unwrap_err();
    }
    let storage = of_storage(&driver).await;
    assert_eq!(storage.len(), 1, "{storage:?}");
    assert_eq!(storage[0].status(), StorageHealthErrorType::StorageUnreachable);
    assert_eq!(storage[0].reason, "ExportSilent");
    assert!(storage[0].message.starts_with("2 exports: "), "{}", storage[0].message);
    for server in ["dead-1:/srv", "dead-2:/srv"] {
        assert!(storage[0].message.contains(server), "{}", storage[0].message);
    }

    // A volume on such an export is degraded for the controller: another node may reach it.
    let health = of_controller(&driver, "dead-1:/srv#v").await.unwrap();
    assert_eq!(statuses(&health), [(VolumeHealthErrorType::Degraded, "ExportSilent")]);
    let health = of_node(&driver, "dead-1:/srv#v", "/not/published").await.unwrap();
    assert_eq!(statuses(&health), [(VolumeHealthErrorType::Inaccessible, "ExportSilent")]);

    for server in ["dead-1:/srv", "dead-2:/srv"] {
        driver.mounter.serve(server, &driver.share());
    }
    // That an export does not answer counts for some seconds.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !of_storage(&driver).await.is_empty() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
