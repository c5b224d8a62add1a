//! Fuzzes every parser of text from outside: handles, parameters, templates, volume contexts, records, mount options, mount
//! tables. No input may cause a panic, and every resulting path must be strictly inside the share.

#![no_main]

use std::collections::BTreeMap;
use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use nfs_subdir_csi::linux::{MountTable, nfs_options};
use nfs_subdir_csi::volume::policy::volume_context::VolumeContext;
use nfs_subdir_csi::volume::share::csi_driver_nfs_archive::CsiDriverNfsSnapshotHandle;
use nfs_subdir_csi::volume::policy::parameters::{Change, Parameters};
use nfs_subdir_csi::volume::share::record::Record;
use nfs_subdir_csi::volume::policy::settings::Settings;
use nfs_subdir_csi::volume::name::sub_dir::STATE_DIR;
use nfs_subdir_csi::volume::name::template::Names;
use nfs_subdir_csi::volume::name::handle::{VolumeHandle, VolumeKey};
use nfs_subdir_csi::volume::name::sub_dir::SubDir;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 6 {
        0 => handle(&text),
        1 => template(&text),
        2 => parameters(&text),
        3 => {
            if let Ok(record) = Record::from_json(rest, "fuzz") {
                check(&record.sub_dir);
                assert_eq!(Record::from_json(&record.to_json(), "fuzz").unwrap(), record);
            }
        }
        4 => {
            let _ = nfs_options::parse(&text.lines().collect::<Vec<_>>());
        }
        _ => drop(MountTable::parse(rest)),
    }
});

fn handle(text: &str) {
    let key = VolumeKey::of_name(text);
    assert_eq!(VolumeKey::parse(key.as_str()), Some(key));
    if let Some(handle) = VolumeHandle::parse(text) {
        assert_eq!(handle.to_string(), text);
        check(&SubDir::parse(handle.key.as_str()).unwrap());
        if let Some(foreign) = handle.foreign {
            check(&foreign.sub_dir);
        }
    }
    if let Some(handle) = CsiDriverNfsSnapshotHandle::parse(text) {
        check(handle.snapshot());
        assert_eq!(handle.snapshot().as_str().split('/').count(), 1);
    }
}

fn template(text: &str) {
    let mut lines = text.lines().map(str::to_owned);
    let names = Names { pvc_name: lines.next(), pvc_namespace: lines.next(), pv_name: lines.next() };
    if let Ok(sub_dir) = names.expand(&lines.next().unwrap_or_default()) {
        check(&sub_dir);
    }
    if let Ok(sub_dir) = names.default_sub_dir("volume") {
        check(&sub_dir);
        assert_eq!(sub_dir.as_str().split('/').count(), 1);
    }
}

fn parameters(text: &str) {
    let map: BTreeMap<String, String> =
        text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    if let Ok(parameters) = Parameters::parse(&map, &Settings::default())
        && let Ok(sub_dir) = parameters.sub_dir_of("volume")
    {
        check(&sub_dir);
    }
    if let Ok(context) = VolumeContext::parse(&map)
        && let Some(sub_dir) = context.sub_dir
    {
        check(&sub_dir);
    }
    let _ = Change::parse(&map);
}

fn check(sub_dir: &SubDir) {
    let mut components = Path::new(sub_dir.as_str()).components();
    assert!(components.clone().all(|component| matches!(component, Component::Normal(_))));
    assert!(components.next().is_some_and(|first| first != Component::Normal(STATE_DIR.as_ref())));
    assert!(!sub_dir.as_str().contains('\0'));
}
