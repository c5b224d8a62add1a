//! One export has one mount, whatever the number of volumes, and only the driver sees it.

use std::fs;

use crate::fixture::{Driver, Setup, mounts, server, until};

#[tokio::test]
async fn two_hundred_volumes_share_one_export_mount() {
    const COUNT: usize = 200;
    let driver = Driver::start().await;
    let mut published = Vec::new();
    let mut export_mounts = Vec::new();
    for number in 0..COUNT {
        let volume = driver.create(&format!("v{number}"), &[]).await;
        let target = driver.publish(&volume, &format!("pod-{number}"), &[]).await;
        fs::write(target.join("number"), number.to_string()).unwrap();
        if number == 0 {
            export_mounts = driver.export_mounts();
            assert_eq!(export_mounts.len(), 1);
        }
        published.push((volume, target));
    }
    assert_eq!(driver.export_mounts(), export_mounts, "all volumes use the mount of the first publish");
    let seen = mounts::nfs(driver.node.pid());
    assert_eq!((seen.len(), mounts::devices(&seen)), (COUNT + 1, 1));
    assert_eq!(mounts::of_guest().len(), COUNT);
    assert_eq!(mounts::superblocks(), 1);

    for (number, (volume, target)) in published.iter().enumerate() {
        assert_eq!(fs::read_to_string(target.join("number")).unwrap(), number.to_string());
        assert_eq!(target.read_dir().unwrap().count(), 1, "no volume sees another's files");
        driver.unpublish(volume, target).await.unwrap();
    }
    assert!(mounts::of_guest().is_empty());
}

#[tokio::test]
async fn volumes_with_different_nfs_options_use_different_export_mounts() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let plain = driver.publish(&volume, "plain", &[]).await;
    assert_eq!(driver.export_mounts().len(), 1);
    driver.publish(&volume, "timeo", &["timeo=300"]).await;
    assert_eq!(driver.export_mounts().len(), 2);
    let soft = driver.publish(&volume, "soft", &["soft", "timeo=300"]).await;
    assert_eq!(driver.export_mounts().len(), 3);
    driver.publish(&volume, "soft-again", &["timeo=300,soft"]).await;
    assert_eq!(driver.export_mounts().len(), 3, "the order of the options does not matter");

    let has = |target, option: &str| mounts::at(target)[0].options.iter().any(|own| own == option);
    assert!(has(&soft, "soft") && has(&plain, "hard"), "{:?}", mounts::of_guest());
    fs::write(soft.join("file"), "x").unwrap();
    assert_eq!(fs::read_to_string(server::directory(&volume).join("file")).unwrap(), "x");
}

#[tokio::test]
async fn flags_that_only_concern_the_bind_mount_share_the_export_mount() {
    let driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let flags: [&[&str]; 6] = [&[], &["ro"], &["nosuid"], &["nodev,noexec"], &["rw", "suid"], &["_netdev"]];
    for (number, flags) in flags.iter().enumerate() {
        driver.publish(&volume, &format!("pod-{number}"), flags).await;
    }
    assert_eq!(driver.export_mounts().len(), 1);
    assert_eq!(mounts::devices(&mounts::nfs(driver.node.pid())), 1);
}

#[tokio::test]
async fn no_mount_of_the_whole_share_is_visible_outside_the_driver() {
    let mut driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    let target = driver.publish(&volume, "a", &[]).await;
    let whole_share = format!("{}:/share", server::NAME);
    assert_eq!(driver.export_mounts()[0].source, whole_share);
    let of_guest = mounts::of_guest();
    assert_eq!(of_guest.len(), 1);
    assert_eq!((of_guest[0].place.clone(), of_guest[0].source.clone()), (target.clone(), whole_share + "/v"));

    driver.controller.kill();
    driver.node.kill();
    let everywhere = || {
        let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
        let processes = processes.filter_map(|name| name.to_str()?.parse::<u32>().ok());
        // A process that has ended meanwhile and a kernel thread have no table.
        let tables = processes.filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok());
        tables.filter(|table| table.contains("nfs-server:/share ")).count()
    };
    assert_eq!(everywhere(), 0, "an export mount outlives the driver");
    assert_eq!(mounts::superblocks(), 1, "only the pod's mount is left");
    fs::write(target.join("file"), "x").unwrap();

    driver.start_node_again().await;
    driver.unpublish(&volume, &target).await.unwrap();
    until("the last mount is gone", || mounts::superblocks() == 0).await;
}

#[tokio::test]
async fn an_unused_export_is_unmounted_after_a_while_and_one_in_use_is_kept() {
    let driver = Driver::start_with(Setup { args: &["--export-linger", "1"], ..Setup::default() }).await;
    let volume = driver.create("v", &[]).await;
    let kept = driver.publish(&volume, "kept", &["soft"]).await;
    let gone = driver.publish(&volume, "gone", &[]).await;
    let also_gone = driver.publish(&volume, "also-gone", &["ro"]).await;
    assert_eq!(driver.export_mounts().len(), 2);
    driver.unpublish(&volume, &gone).await.unwrap();
    driver.unpublish(&volume, &also_gone).await.unwrap();
    assert_eq!(driver.export_mounts().len(), 2, "it is not unmounted at once");
    until("the unused export is unmounted", || driver.export_mounts().len() == 1).await;
    assert!(driver.export_mounts()[0].options.contains(&"soft".to_owned()), "the export in use is kept");
    // The service sees the published volume, as every process does.
    until("the controller unmounts its export, too", || mounts::nfs(driver.controller.pid()).len() == 1)
        .await;
    fs::write(kept.join("file"), "x").unwrap();
    let target = driver.publish(&volume, "again", &[]).await;
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "x");
    assert_eq!(driver.export_mounts().len(), 2);
}
