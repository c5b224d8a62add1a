//! Snapshots of csi-driver-nfs, which are archives on the share.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nfs_subdir_csi::csi::proto;
use tonic::Code;

use crate::controller::snapshots::{from, of_snapshot, read, write};
use crate::{Driver, PARAMETERS, support};

const NAME: &str = "snapshot-016f784f-56f4-44d1-9041-5f59e82dbce1";

#[tokio::test]
async fn its_snapshots_are_found_restored_and_deleted() {
    let driver = Driver::start().await;
    let share = driver.share();
    let source = tempfile::tempdir().unwrap();
    std::fs::create_dir(source.path().join("sub")).unwrap();
    write(&source.path().join("sub/file"), "kept");
    std::fs::hard_link(source.path().join("sub/file"), source.path().join("twin")).unwrap();
    std::fs::create_dir(share.join(NAME)).unwrap();
    let archive = share.join(NAME).join("pvc-1.tar.gz");
    let packed = Command::new("tar").arg("czf").arg(&archive).arg("-C").arg(source.path()).arg(".").status();
    assert!(packed.unwrap().success());

    let id = format!("nas#srv#{NAME}#{NAME}#pvc-1");
    let mut controller = driver.controller.controller.clone();
    let request = proto::ListSnapshotsRequest { snapshot_id: id.clone(), ..Default::default() };
    let listed = controller.list_snapshots(request).await.unwrap().into_inner().entries;
    let found = listed[0].snapshot.as_ref().unwrap();
    assert_eq!(
        (found.snapshot_id.as_str(), found.source_volume_id.as_str()),
        (id.as_str(), "nas#srv#pvc-1##")
    );
    assert!(
        found.ready_to_use && found.size_bytes == i64::try_from(archive.metadata().unwrap().len()).unwrap()
    );

    driver.make(from("r", of_snapshot(&id))).await.unwrap();
    let restored = share.join("r");
    assert_eq!(read(&restored.join("sub/file")), "kept");
    let inode = |name: &str| restored.join(name).metadata().unwrap().ino();
    assert_eq!(inode("sub/file"), inode("twin"));

    for _ in 0..2 {
        driver.drop_snapshot(&id).await.unwrap();
        assert!(!share.join(NAME).exists());
    }
    let gone = driver.make(from("r2", of_snapshot(&id))).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{}", gone.message());
}

#[tokio::test]
async fn a_damaged_archive_makes_no_volume_and_a_forged_handle_deletes_nothing() {
    let driver = Driver::start().await;
    let share = driver.share();
    driver.make(support::create("v", &PARAMETERS)).await.unwrap();
    write(&share.join("v/x.tar"), "a tenant's own");
    std::fs::create_dir(share.join(NAME)).unwrap();
    write(&share.join(NAME).join("pvc-1.tar"), &"not an archive".repeat(100));

    let damaged =
        driver.make(from("r", of_snapshot(&format!("nas#srv#{NAME}#{NAME}#pvc-1")))).await.unwrap_err();
    assert_eq!(damaged.code(), Code::FailedPrecondition, "{}", damaged.message());
    assert!(!share.join("r").exists() && driver.drafts() == 0);

    let forged = driver.drop_snapshot("nas#srv#v#v#x").await.unwrap_err();
    assert_eq!(forged.code(), Code::FailedPrecondition, "{}", forged.message());
    for id in ["nas#srv#..#..#x", "nas#srv###x", "nas#srv#v#v#../v", "nas#srv#v#v#none"] {
        driver.drop_snapshot(id).await.unwrap();
    }
    assert_eq!(read(&share.join("v/x.tar")), "a tenant's own");
}
