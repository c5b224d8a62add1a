use super::*;
use crate::linux::fake::FakeMounter;
use crate::linux::nfs_options::{self, BindFlags};
use crate::volume::name::export::Export;
use crate::volume::policy::settings::Settings;
use std::path::Path;

struct Setup {
    _temporary: tempfile::TempDir,
    mounter: Arc<FakeMounter>,
    exports: Exports,
    export: ResolvedExport,
}

fn setup() -> Setup {
    let temporary = tempfile::tempdir().unwrap();
    let mounter = Arc::new(FakeMounter::default());
    mounter.serve("nas:/srv", temporary.path());
    let exports = Exports::new(mounter.clone(), Duration::from_mins(1));
    let export = ExportRef::Inline(Export::new("nas", "/srv").unwrap());
    let export = Settings::default().resolve(&export).unwrap();
    Setup { _temporary: temporary, mounter, exports, export }
}

#[test]
fn equal_options_share_a_mount_and_others_do_not() {
    let setup = setup();
    let options = |text: &str| nfs_options::parse(&[text]).unwrap().0;
    for text in ["hard,timeo=600", "timeo=600,hard", "timeo=600,hard,ro"] {
        setup.exports.with(&setup.export, &options(text), |_| Ok(())).unwrap();
    }
    assert_eq!(setup.mounter.export_mounts(), 1);
    setup.exports.with(&setup.export, &options("soft"), |_| Ok(())).unwrap();
    assert_eq!(setup.mounter.export_mounts(), 2);
    setup.exports.with_any(&setup.export, &NfsOptions::default(), |_| Ok(())).unwrap();
    assert_eq!(setup.mounter.export_mounts(), 2);
}

#[test]
fn all_mounts_of_an_export_share_the_sum_of_capacities_even_while_one_is_being_mounted() {
    let setup = setup();
    let options = |text: &str| nfs_options::parse(&[text]).unwrap().0;
    let reservations = |options: &NfsOptions| {
        setup
            .exports
            .with(&setup.export, options, |mounted| Ok(std::ptr::from_ref(mounted.reservations()).addr()))
            .unwrap()
    };
    let first = reservations(&options("hard"));
    let key = (setup.export.sources.clone(), options("hard"));
    let slot = Arc::clone(&setup.exports.slots.lock()[&key]);
    let being_mounted = slot.lock();
    let second = reservations(&options("soft"));
    drop(being_mounted);
    assert_eq!(first, second);
}

#[test]
fn an_export_is_let_go_when_idle_for_long_enough_and_not_while_published() {
    let setup = setup();
    let begun = Instant::now();
    let after = |seconds| begun + Duration::from_secs(seconds);
    let mounts = || setup.mounter.table().unwrap().iter().count();
    let options = NfsOptions::default();
    let target = Path::new("/kubelet/target");
    let publish =
        |mounted: &MountedExport| Ok(setup.mounter.bind(mounted.share(), target, BindFlags::default())?);
    setup.exports.with(&setup.export, &options, publish).unwrap();
    for seconds in [0, 100, 200] {
        setup.exports.release_idle(after(seconds)).unwrap();
    }
    assert_eq!(mounts(), 2, "published volumes keep the export mounted");
    setup.mounter.unmount(target).unwrap();
    setup.exports.release_idle(after(300)).unwrap();
    setup.exports.release_idle(after(359)).unwrap();
    assert_eq!(mounts(), 1, "it lingers");
    setup.exports.release_idle(after(360)).unwrap();
    assert_eq!(mounts(), 0);
    setup.exports.with(&setup.export, &options, |_| Ok(())).unwrap();
    assert_eq!(mounts(), 1, "the next use mounts it again");
}

#[test]
fn all_who_wait_for_a_dead_export_get_the_answer_of_one_question() {
    let setup = setup();
    let dead = ExportRef::Inline(Export::new("dead", "/srv").unwrap());
    let dead = Settings::default().resolve(&dead).unwrap();
    setup.mounter.delay_failures(Duration::from_millis(200));
    let mount = || setup.exports.with(&dead, &NfsOptions::default(), |_| Ok(()));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..50).map(|_| scope.spawn(mount)).collect();
        for call in calls {
            let error = call.join().unwrap().unwrap_err();
            assert!(error.is_unreachable() && error.to_string().contains("dead:/srv"), "{error}");
        }
    });
    mount().unwrap_err();
    assert_eq!(setup.mounter.failures(), 1, "one question for all, and for the next call");
    assert!(setup.exports.inline_used().is_empty(), "it was never mounted");
}

#[test]
fn failed_exports_are_not_kept() {
    let setup = setup();
    for number in 0..100 {
        let export = ExportRef::Inline(Export::new(&format!("dead-{number}"), "/srv").unwrap());
        let export = Settings::default().resolve(&export).unwrap();
        setup.exports.with(&export, &NfsOptions::default(), |_| Ok(())).unwrap_err();
    }
    assert_eq!(setup.exports.slots.lock().len(), 100);
    std::thread::sleep(Duration::from_millis(3100));
    let other = ExportRef::Inline(Export::new("dead", "/srv").unwrap());
    let other = Settings::default().resolve(&other).unwrap();
    setup.exports.with(&other, &NfsOptions::default(), |_| Ok(())).unwrap_err();
    assert_eq!(setup.exports.slots.lock().len(), 1);
}
