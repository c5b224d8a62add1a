//! Lists of volumes, page by page, and the capacity of an export.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::linux::NfsSource;
use nfs_subdir_csi::volume::policy::settings::{
    CapacityPolicy, ExportPolicy, NamedExport, PrivateOptions, Settings,
};
use tonic::Code;

use crate::support::{create, delete, map};
use crate::{Driver, PARAMETERS};

async fn page(driver: &Driver, token: &str, limit: i32) -> proto::ListVolumesResponse {
    let request = proto::ListVolumesRequest { starting_token: token.to_owned(), max_entries: limit };
    driver.controller.controller.clone().list_volumes(request).await.unwrap().into_inner()
}

fn ids(page: &proto::ListVolumesResponse) -> Vec<String> {
    page.entries.iter().map(|entry| entry.volume.as_ref().unwrap().volume_id.clone()).collect()
}

#[tokio::test]
async fn a_list_has_every_volume_once_while_others_are_made_and_deleted() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let mut volumes = Vec::new();
    for number in 10..20 {
        let request = create(&format!("v{number}"), &PARAMETERS);
        volumes.push(controller.create_volume(request).await.unwrap().into_inner().volume.unwrap());
    }
    let first = page(&driver, "", 4).await;
    assert_eq!(ids(&first), ["nas:/srv#v10", "nas:/srv#v11", "nas:/srv#v12", "nas:/srv#v13"]);
    // The volume that the token names is deleted, one before it and one after it as well, and a new one is made.
    for index in [1, 3, 4] {
        controller.delete_volume(delete(&volumes[index])).await.unwrap();
    }
    controller.create_volume(create("v175", &PARAMETERS)).await.unwrap();
    let second = page(&driver, &first.next_token, 4).await;
    assert_eq!(ids(&second), ["nas:/srv#v15", "nas:/srv#v16", "nas:/srv#v17", "nas:/srv#v175"]);
    let third = page(&driver, &second.next_token, 0).await;
    assert_eq!(ids(&third), ["nas:/srv#v18", "nas:/srv#v19"]);
    assert_eq!(third.next_token, "");
    let volume = third.entries[0].volume.as_ref().unwrap();
    assert_eq!((volume.capacity_bytes, &volume.volume_context), (1 << 30, &volumes[8].volume_context));
}

/// `nas:/srv#a` is before `zeta#a` in the alphabet, but exports of the configuration come first.
#[tokio::test]
async fn volumes_are_listed_in_the_order_of_exports_and_keys() {
    let driver = Driver::start_with(named(&["zeta", "alpha"], "other")).await;
    driver.mounter.serve("other:/zeta", &directory(&driver, "zeta"));
    driver.mounter.serve("other:/alpha", &directory(&driver, "alpha"));
    let mut controller = driver.controller.controller.clone();
    for name in ["b", "a", "B"] {
        for parameters in [&[("export", "zeta")][..], &PARAMETERS, &[("export", "alpha")]] {
            // The controller has looked for deleted volumes before the exports were there, and remembers that for some seconds.
            let deadline = Instant::now() + Duration::from_secs(10);
            while controller.create_volume(create(name, parameters)).await.is_err() {
                assert!(Instant::now() < deadline);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let all =
        ["alpha", "zeta", "nas:/srv"].map(|export| ["B", "a", "b"].map(|key| format!("{export}#{key}")));
    for limit in [0, 1, 2, 5] {
        let (mut listed, mut token) = (Vec::new(), String::new());
        loop {
            let next = page(&driver, &token, limit).await;
            listed.extend(ids(&next));
            token = next.next_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, all.concat(), "{limit} entries a page");
    }
}

#[tokio::test]
async fn an_export_that_is_not_configured_is_listed_once_it_has_been_used() {
    let earlier = Driver::start().await;
    earlier.controller.controller.clone().create_volume(create("v", &PARAMETERS)).await.unwrap();
    let driver = Driver::start().await;
    driver.mounter.serve("nas:/srv", &earlier.share());
    assert_eq!(ids(&page(&driver, "", 0).await), Vec::<String>::new());
    driver.controller.controller.clone().create_volume(create("w", &PARAMETERS)).await.unwrap();
    assert_eq!(ids(&page(&driver, "", 0).await), ["nas:/srv#v", "nas:/srv#w"]);
}

#[tokio::test]
async fn a_list_fails_while_the_server_of_an_export_does_not_answer() {
    let driver = Driver::start_with(named(&["gone"], "gone.example")).await;
    let request = proto::ListVolumesRequest::default();
    let status = driver.controller.controller.clone().list_volumes(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("gone.example"), "{}", status.message());
}

/// A configuration with these exports, each at the path of its name on the server.
fn named(names: &[&str], server: &str) -> Settings {
    let export = |name: &&str| {
        let source = NfsSource { server: server.to_owned(), share: format!("/{name}") };
        let export = NamedExport {
            sources: vec![source],
            mount_options: PrivateOptions::default(),
            policy: ExportPolicy::default(),
        };
        ((*name).to_owned(), export)
    };
    Settings { exports: names.iter().map(export).collect(), ..Settings::default() }
}

/// A new directory beside the share.
fn directory(driver: &Driver, name: &str) -> PathBuf {
    let directory = driver.share().with_file_name(name);
    std::fs::create_dir(&directory).unwrap();
    directory
}

#[tokio::test]
async fn an_unknown_token_is_aborted() {
    let driver = Driver::start().await;
    for token in ["invalid-token", "gone#v", "nas:/other#v", "nas#srv#x##"] {
        let request = proto::ListVolumesRequest { starting_token: token.to_owned(), max_entries: 0 };
        let status = driver.controller.controller.clone().list_volumes(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Aborted, "{token}");
    }
    let request = proto::ListVolumesRequest { starting_token: String::new(), max_entries: -1 };
    let status = driver.controller.controller.clone().list_volumes(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_volume_is_found_by_its_handle() {
    let driver = Driver::start().await;
    let mut controller = driver.controller.controller.clone();
    let volume =
        controller.create_volume(create("v", &PARAMETERS)).await.unwrap().into_inner().volume.unwrap();
    let get = |id: &str| proto::ControllerGetVolumeRequest { volume_id: id.to_owned() };
    let answer = controller.controller_get_volume(get(&volume.volume_id)).await.unwrap().into_inner();
    assert_eq!(answer.volume.unwrap(), volume);
    for id in ["nas:/srv#none", "fake"] {
        assert_eq!(controller.controller_get_volume(get(id)).await.unwrap_err().code(), Code::NotFound);
    }
}

fn with_policy(capacity: CapacityPolicy) -> Settings {
    Settings { inline_policy: ExportPolicy { capacity, ..ExportPolicy::default() }, ..Settings::default() }
}

async fn capacity(driver: &Driver) -> i64 {
    let request = proto::GetCapacityRequest { parameters: map(&PARAMETERS), ..Default::default() };
    driver.controller.controller.clone().get_capacity(request).await.unwrap().into_inner().available_capacity
}

fn sized(name: &str, bytes: i64) -> proto::CreateVolumeRequest {
    let range = proto::CapacityRange { required_bytes: bytes, limit_bytes: 0 };
    proto::CreateVolumeRequest { capacity_range: Some(range), ..create(name, &PARAMETERS) }
}

#[tokio::test]
async fn with_reserve_the_same_bytes_are_not_promised_twice() {
    let driver = Driver::start_with(with_policy(CapacityPolicy::Reserve)).await;
    let mut controller = driver.controller.controller.clone();
    // Other programs use the disk of the temporary directory, too. With nearly all of it reserved, they make no difference.
    let total = nix::sys::statvfs::statvfs(&driver.share()).unwrap();
    let total = i64::try_from(total.blocks() * total.fragment_size()).unwrap();
    let most = total - (8 << 20);
    controller.create_volume(sized("small", 4 << 20)).await.unwrap();
    let status = controller.create_volume(sized("large", total - (1 << 20))).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(
        status
            .message()
            .starts_with(&format!("{} bytes are asked for, but nas:/srv has only ", total - (1 << 20)))
    );
    assert!(!driver.share().join("large").exists());
    assert!(capacity(&driver).await <= most);
}

#[tokio::test]
async fn of_two_simultaneous_volumes_that_do_not_both_fit_one_is_made() {
    let driver = Driver::start_with(with_policy(CapacityPolicy::Reserve)).await;
    let mut controller = driver.controller.controller.clone();
    // Reserves so much that fewer bytes are left unreserved than are free. From then on only reservations matter.
    let free = capacity(&driver).await;
    let mut room = free;
    for number in 0.. {
        if room < free / 2 {
            break;
        }
        controller.create_volume(sized(&format!("filler-{number}"), free / 3)).await.unwrap();
        room = capacity(&driver).await;
    }
    for round in 0..20 {
        let ask = |name: String| {
            let mut controller = controller.clone();
            async move { controller.create_volume(sized(&name, room / 5 * 3)).await }
        };
        let (one, two) = tokio::join!(ask(format!("a{round}")), ask(format!("b{round}")));
        let granted: Vec<_> = [one, two].into_iter().filter_map(Result::ok).collect();
        assert_eq!(granted.len(), 1, "round {round}");
        let volume = granted[0].get_ref().volume.as_ref().unwrap();
        controller.delete_volume(delete(volume)).await.unwrap();
    }
}

#[tokio::test]
async fn a_volume_larger_than_what_is_free_is_out_of_range_unless_that_is_ignored() {
    let thin = Driver::start_with(with_policy(CapacityPolicy::Thin)).await;
    let ignore = Driver::start_with(with_policy(CapacityPolicy::Ignore)).await;
    let huge = 1 << 60;
    let status = thin.controller.controller.clone().create_volume(sized("huge", huge)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    ignore.controller.controller.clone().create_volume(sized("huge", huge)).await.unwrap();
    for driver in [&thin, &ignore] {
        assert!(capacity(driver).await > 0);
    }
}

#[tokio::test]
async fn without_a_default_export_the_capacity_is_zero() {
    let driver = Driver::start().await;
    let request = proto::GetCapacityRequest::default();
    let answer = driver.controller.controller.clone().get_capacity(request).await.unwrap().into_inner();
    assert_eq!(answer.available_capacity, 0);
    assert_eq!(driver.mounter.export_mounts(), 0);
}
