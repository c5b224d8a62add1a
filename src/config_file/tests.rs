//! Files that are read, files with mistakes, and files that change.

use super::*;

const FULL: &str = "
exports:
  - name: fast
    servers: [10.0.0.5, 10.0.0.6]
    share: /srv/k8s
    mountOptions: [nfsvers=4.2, 'hard,timeo=300']
    trashRetention: 24h
    capacityPolicy: reserve
    quota: required
  - name: slow
    server: nas.example
    share: /slow
defaultExport: fast
installation: blue
logLevel: info,nfs_subdir_csi=debug
onDelete: archive
inline:
  servers: ['*.example', 10.0.0.0/8]
  mountOptions: [{servers: [10.0.0.7], options: [port=20490]}]
wholeShares: [slow, '10.0.0.7:/media/']
ephemeralVolumes: true
deviceNodes: skip
fsGroup: require
limits:
  copiesAtOnce: 2
  copyTime: 12h
  callsPerExport: 4
  removalsPerSecond: 500
metrics: {volumesPerExport: 300}
";

#[test]
fn a_full_file_is_read() {
    let settings = parse(FULL).unwrap();
    let fast = &settings.exports["fast"];
    assert_eq!(
        fast.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.5:/srv/k8s", "10.0.0.6:/srv/k8s"]
    );
    assert_eq!(fast.policy.trash_retention, Duration::from_hours(24));
    assert_eq!((fast.policy.capacity, fast.policy.quota), (CapacityPolicy::Reserve, QuotaPolicy::Required));
    assert_eq!(settings.inline_policy.quota, QuotaPolicy::None);
    assert_eq!(settings.exports["slow"].policy.trash_retention, Duration::ZERO);
    assert_eq!(settings.on_delete, OnDelete::Archive);
    assert_eq!(settings.installation.as_deref(), Some("blue"));
    let whole: Vec<_> = settings.whole_shares.iter().map(ToString::to_string).collect();
    assert_eq!(whole, ["nas.example:/slow", "10.0.0.7:/media"]);
    assert!(settings.ephemeral_volumes && settings.allows("nas.example") && !settings.allows("192.168.0.1"));
    assert_eq!(settings.fs_group, FsGroup::Require);
    assert_eq!((settings.copies_at_once, settings.device_nodes), (Some(2), DeviceNodes::Skip));
    assert_eq!(settings.copy_time, Some(Duration::from_hours(12)));
    assert_eq!((settings.calls_per_export, fast.policy.removals_per_second), (Some(4), Some(500)));
    assert_eq!(settings.measured_volumes, 300);
}

#[test]
fn an_empty_file_is_the_default() {
    for text in ["", "\n", "exports: []\n", "{}"] {
        assert_eq!(parse(text).unwrap(), Settings::default(), "{text:?}");
    }
}

#[test]
fn a_mistake_is_named_with_its_line() {
    let error = |text: &str| format!("{:#}", parse(text).unwrap_err());
    let text = error("exports:\n  - name: a\n    server: h\n    share: /s\n    mountOption: [ro]\n");
    assert!(text.contains("mountOption") && text.contains('5'), "{text}");
    for (text, word) in [
        ("exports: [{name: A, server: h, share: /s}]", "not a name for an export"),
        ("exports: [{name: a, share: /s}]", "neither `server` nor `servers`"),
        ("exports: [{name: a, server: h, share: s}]", "absolute path"),
        ("exports: [{name: a, server: h, share: /s}, {name: a, server: h, share: /s}]", "two exports"),
        ("exports: [{name: a, server: h, share: /s, trashRetention: soon}]", "not a duration"),
        ("exports: [{name: a, server: h, share: /s, mountOptions: [addr=1.2.3.4]}]", "not allowed"),
        ("exports: [{name: a, server: 'h,x', share: /s}]", "neither a host name"),
        ("exports: [{name: a, server: h, share: /s, mountOptionsFile: /absent/file}]", "mountOptionsFile"),
        ("defaultExport: b", "no export `b`"),
        ("installation: ''", "between 1 and 63"),
        ("logLevel: lots=of,noise", "logLevel: log level \"lots=of,noise\" is neither"),
        ("logLevel: verbose", "is neither error, warn"),
        ("{inline: {mountOptions: [{servers: [h], options: [addr=1.2.3.4]}]}}", "inline.mountOptions for h"),
        ("wholeShares: [b]", "wholeShares: \"b\": export `b` is not in"),
        ("wholeShares: ['h/s']", "not a name for an export"),
        ("{inline: {servers: []}, wholeShares: ['h:/s']}", "not among inline.servers"),
        ("metrics: {volumesPerExport: 10001}", "at most 10000 volumes"),
        ("limits: {callsPerExport: 0}", "with 0 the driver could do nothing"),
        ("limits: {callsPerExport: 18446744073709551615}", "at most 256 calls"),
    ] {
        assert!(error(text).contains(word), "{text}: {}", error(text));
    }
}

#[test]
fn a_change_is_used_when_a_link_is_replaced_and_a_mistake_is_not() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    // kubelet mounts a ConfigMap like this: file -> ..data/file, and ..data -> a directory that it replaces.
    let swap = |version: &str, text: &str| {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("config.yaml"), text).unwrap();
        std::os::unix::fs::symlink(version, at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
    };
    swap("1", "defaultExport: a\nexports: [{name: a, server: h, share: /s}]\n");
    std::os::unix::fs::symlink("..data/config.yaml", at("config.yaml")).unwrap();
    let live = Arc::new(LiveSettings::new(load(&at("config.yaml")).unwrap()));
    watch(at("config.yaml"), Arc::clone(&live), |_| ());
    swap("2", "exports: [{name: a\n");
    std::thread::sleep(2 * ROUND);
    assert_eq!(live.get().default_export.as_deref(), Some("a"), "the last good version stays in force");
    assert_eq!((live.reloads.is_broken(), live.reloads.failures()), (true, 1));
    let before = live.reloads.taken_up();
    swap("3", "defaultExport: b\nexports: [{name: b, server: h, share: /s}]\n");
    let taken_up = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        live.get().default_export.as_deref() == Some("b")
    });
    assert!(taken_up);
    let noted = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        !live.reloads.is_broken()
    });
    assert!(noted && live.reloads.taken_up() > before && live.reloads.failures() == 1);
}
