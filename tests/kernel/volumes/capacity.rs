//! The capacity of an export and requests for more, on a file system of 64 MiB.

use std::fs;
use std::io::Write;
use std::path::Path;

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::csi::proto::Volume;
use nix::sys::statvfs::{Statvfs, statvfs};
use tonic::Code;

use crate::configuration::edits::{WITH_CONFIG, configure};
use crate::fixture::{Driver, answer, assert_refused, server, until};
use crate::publish::stats;
use crate::support::{self, map};

const MIB: i64 = 1 << 20;

async fn capacity(driver: &Driver, parameters: &[(&str, &str)]) -> i64 {
    let request = proto::GetCapacityRequest { parameters: map(parameters), ..Default::default() };
    answer(driver.controller_client().get_capacity(request)).await.unwrap().available_capacity
}

/// A request for a volume of this size on the default export.
fn sized(name: &str, bytes: i64) -> proto::CreateVolumeRequest {
    let range = proto::CapacityRange { required_bytes: bytes, limit_bytes: 0 };
    proto::CreateVolumeRequest { capacity_range: Some(range), ..support::create(name, &[]) }
}

async fn expand(driver: &Driver, volume: &Volume, bytes: i64) -> Result<i64, tonic::Status> {
    let request = proto::ControllerExpandVolumeRequest {
        volume_id: volume.volume_id.clone(),
        capacity_range: Some(proto::CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
        ..Default::default()
    };
    let answered = answer(driver.controller_client().controller_expand_volume(request)).await;
    answered.map(|answer| answer.capacity_bytes)
}

fn bytes(blocks: u64, stat: &Statvfs) -> i64 {
    i64::try_from(blocks * stat.fragment_size()).unwrap()
}

/// Bytes that statfs(2) reports as available.
fn available(path: &Path) -> i64 {
    let stat = statvfs(path).unwrap();
    bytes(stat.blocks_available(), &stat)
}

/// Writes a file and waits until it is on the server's disk.
fn write_through(path: &Path, size: i64) {
    fs::write(path, vec![1; usize::try_from(size).unwrap()]).unwrap();
    fs::File::open(path).unwrap().sync_all().unwrap();
}

/// Starts the driver with `/small` as the default export: 64 MiB less what ext4 uses itself.
async fn on_small(policy: &str) -> Driver {
    configure(&format!(
        "exports: [{{name: tiny, server: 127.0.0.1, share: /small, capacityPolicy: {policy}}}]\ndefaultExport: tiny\n"
    ));
    Driver::start_with(WITH_CONFIG).await
}

/// A refused volume leaves neither a directory nor a record.
fn assert_nothing_of(name: &str) {
    assert!(!server::entries("/small").contains(&name.to_owned()));
    assert!(!server::exported("/small/.nfs-subdir-csi/volumes").join(format!("{name}.json")).exists());
}

#[tokio::test]
async fn the_capacity_of_an_export_is_what_statfs_reports() {
    let driver = on_small("thin").await;
    let volume = driver.try_create(sized("v", MIB)).await.unwrap();
    let target = driver.publish(&volume, "a", &[]).await;
    let before = capacity(&driver, &[]).await;
    assert_eq!(before, available(&target));
    // The client counts blocks of up to 1 MiB and rounds up.
    let on_server = available(&server::exported("/small"));
    assert!((on_server..on_server + MIB).contains(&before), "{before}, and {on_server} on the server");

    write_through(&target.join("file"), 16 * MIB);
    let after = capacity(&driver, &[]).await;
    assert_eq!(after, available(&target));
    assert!((14 * MIB..=18 * MIB).contains(&(before - after)), "{before}, then {after}");
    // Server and share name the same export. Another export has its own capacity.
    assert_eq!(capacity(&driver, &[("server", "127.0.0.1"), ("share", "/small")]).await, after);
    assert!(capacity(&driver, &[("server", "127.0.0.1"), ("share", "/share")]).await > 1 << 30);
}

#[tokio::test]
async fn a_volume_larger_than_what_is_free_is_out_of_range_with_both_numbers() {
    let driver = on_small("thin").await;
    let free = capacity(&driver, &[]).await;
    let answer = driver.try_create(sized("large", free + 1)).await;
    let words = format!("{} bytes are asked for, but 127.0.0.1:/small has only {free} bytes free", free + 1);
    assert_refused(answer, Code::OutOfRange, &words);
    assert_nothing_of("large");
    // With `thin`, each of several volumes may be as large as all that is free.
    for name in ["one", "two"] {
        driver.try_create(sized(name, free - MIB)).await.unwrap();
    }
    let large = driver.try_create(sized("one", free - MIB)).await.unwrap();
    assert_refused(expand(&driver, &large, free + 65 * MIB).await, Code::OutOfRange, "bytes free");
}

#[tokio::test]
async fn the_same_bytes_are_not_reserved_twice_and_are_free_again_after_a_deletion() {
    let driver = on_small("reserve").await;
    let stat = statvfs(&server::exported("/small")).unwrap();
    let total = bytes(stat.blocks(), &stat);
    let one = driver.try_create(sized("one", 20 * MIB)).await.unwrap();
    driver.try_create(sized("two", 20 * MIB)).await.unwrap();
    let left = capacity(&driver, &[]).await;
    assert!((total - 41 * MIB..=total - 39 * MIB).contains(&left), "{left} of {total}");
    assert!(left < available(&server::exported("/small")), "reservations leave less than is free");

    // The content of a volume lies within its reservation, so writing changes nothing.
    let target = driver.publish(&one, "a", &[]).await;
    write_through(&target.join("file"), 10 * MIB);
    assert_eq!(capacity(&driver, &[]).await, left);

    let words = |asked: i64, left: i64| {
        format!(
            "{asked} bytes are asked for, but 127.0.0.1:/small has only {left} bytes that no other volume has reserved"
        )
    };
    assert_refused(
        driver.try_create(sized("three", left + 1)).await,
        Code::OutOfRange,
        &words(left + 1, left),
    );
    assert_nothing_of("three");
    let more = expand(&driver, &one, 20 * MIB + left + 1).await;
    assert_refused(more, Code::OutOfRange, &words(left + 1, left));
    driver.try_create(sized("three", left)).await.unwrap();
    assert_eq!(capacity(&driver, &[]).await, 0);
    assert_refused(driver.try_create(sized("four", 1)).await, Code::OutOfRange, &words(1, 0));

    driver.unpublish(&one, &target).await.unwrap();
    driver.delete(&one).await.unwrap();
    assert_eq!(capacity(&driver, &[]).await, 20 * MIB);
    let four = driver.try_create(sized("four", 5 * MIB)).await.unwrap();
    assert_eq!(expand(&driver, &four, 20 * MIB).await.unwrap(), 20 * MIB);
    assert_eq!(capacity(&driver, &[]).await, 0);
}

#[tokio::test]
async fn with_reserve_the_capacity_is_what_is_free_if_that_is_less() {
    let driver = on_small("reserve").await;
    let volume = driver.try_create(sized("v", MIB)).await.unwrap();
    let target = driver.publish(&volume, "a", &[]).await;
    // These files belong to no volume, so no reservation covers them.
    write_through(&server::exported("/small/filler"), 40 * MIB);
    let free = available(&target);
    assert!(free < 25 * MIB, "{free}");
    assert_eq!(capacity(&driver, &[]).await, free);
    let answer = driver.try_create(sized("large", free + 1)).await;
    assert_refused(answer, Code::OutOfRange, &format!("{free} bytes"));
}

#[tokio::test]
async fn reserved_bytes_survive_a_restart_of_the_controller() {
    let mut driver = on_small("reserve").await;
    driver.try_create(sized("one", 30 * MIB)).await.unwrap();
    let left = capacity(&driver, &[]).await;
    driver.controller.kill();
    driver.start_controller_again().await;
    assert_eq!(capacity(&driver, &[]).await, left);
    assert_refused(
        driver.try_create(sized("two", left + 1)).await,
        Code::OutOfRange,
        "no other volume has reserved",
    );
}

#[tokio::test]
async fn without_a_quota_the_usage_is_that_of_the_export() {
    let driver = on_small("thin").await;
    let volume = driver.try_create(sized("v", MIB)).await.unwrap();
    let target = driver.publish(&volume, "a", &[]).await;
    write_through(&target.join("file"), 8 * MIB);
    let usage = stats::usage(&driver, &volume.volume_id, crate::fixture::text(&target)).await;
    let stat = statvfs(&target).unwrap();
    let used = bytes(stat.blocks() - stat.blocks_free(), &stat);
    assert_eq!(usage[0], (bytes(stat.blocks(), &stat), used, bytes(stat.blocks_available(), &stat)));
    assert!(used >= 8 * MIB, "{usage:?}");
    let inodes = statvfs(&server::exported("/small")).unwrap();
    let count = |number: u64| i64::try_from(number).unwrap();
    let (all, free) = (count(inodes.files()), count(inodes.files_free()));
    assert_eq!(usage[1], (all, all - free, free), "the inodes are those of the server's file system");
}

/// Fills the file system of a directory, until not even an empty directory can be made.
fn fill(directory: &Path) {
    let mut file = fs::File::create(directory.join("file")).unwrap();
    for size in [1 << 20, 4096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    file.sync_all().ok();
    let full =
        (0..).find_map(|number| fs::create_dir(directory.join(format!("dir-{number}"))).err()).unwrap();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

#[tokio::test]
async fn a_controller_that_starts_on_a_full_file_system_can_delete_a_volume() {
    let mut driver = on_small("thin").await;
    let volume = driver.try_create(sized("v", MIB)).await.unwrap();
    // Another process would wait a minute before it removes what this one leaves.
    until("the draft of the record is removed", || server::unfinished("/small").is_empty()).await;
    driver.controller.kill();
    driver.start_controller_again().await;
    fill(&server::exported("/small/v"));
    driver.delete(&volume).await.unwrap();
    assert_eq!(server::entries("/small"), Vec::<String>::new());
    until("the files of the deleted volume are removed", || server::unfinished("/small").is_empty()).await;
    driver.try_create(sized("next", MIB)).await.unwrap();
}
