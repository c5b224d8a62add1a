use super::*;

#[test]
fn the_same_options_in_another_order_are_equal() {
    let one = parse(&["hard,timeo=600", "nfsvers=4.1"]).unwrap();
    let two = parse(&["vers=4.1", "timeo=600", "hard", "_netdev", ""]).unwrap();
    assert_eq!(one, two);
    assert_eq!(one.0.to_mount_data(), "hard,timeo=600");
}

#[test]
fn options_that_do_nothing_on_nfs_are_not_the_clients() {
    let (options, bind) =
        parse(&["noatime,nodiratime", "relatime", "bg,retry=5,nofail", "x-systemd.automount", "comment=a"])
            .unwrap();
    assert_eq!((options, bind), Default::default());
}

#[test]
fn flags_of_the_bind_do_not_make_another_export_mount() {
    let (options, bind) = parse(&["ro", "nosuid,nodev", "noexec", "exec"]).unwrap();
    assert_eq!(options, NfsOptions::default());
    assert_eq!(bind, BindFlags { read_only: true, nosuid: true, nodev: true, noexec: false });
}

#[test]
fn versions_are_understood_in_every_spelling() {
    for (text, version) in [
        ("vers=3", Version::V3),
        ("nfsvers=4", Version::V4),
        ("v4.2", Version::V4Minor(2)),
        ("minorversion=1", Version::V4Minor(1)),
        ("vers=4.0", Version::V4Minor(0)),
    ] {
        assert_eq!(parse(&[text]).unwrap().0.version, Some(version), "{text}");
    }
    for text in ["vers=2", "vers=", "nfsvers=5", "minorversion=9", "vers"] {
        assert_eq!(parse(&[text]), Err(OptionError::Version(text.to_owned())), "{text}");
    }
}

#[test]
fn an_option_that_chooses_the_server_is_refused() {
    for text in ["addr=10.9.9.9", "hard,addr=10.9.9.9", "mountaddr=1.2.3.4", "mounthost=evil"] {
        assert!(matches!(parse(&[text]), Err(OptionError::Address(_))), "{text}");
    }
    assert_eq!(parse(&["hard\nsoft"]), Err(OptionError::ControlCharacter));
}

#[test]
fn values_are_not_in_debug_output() {
    let (options, _) = parse(&["sec=krb5", "context=secret"]).unwrap();
    let printed = format!("{options:?}");
    assert!(printed.contains("context") && !printed.contains("secret"), "{printed}");
}

#[test]
fn a_minor_version_belongs_to_version_4_in_any_order() {
    for (text, version) in [
        ("vers=4,minorversion=1", Version::V4Minor(1)),
        ("minorversion=1,vers=4", Version::V4Minor(1)),
        ("vers=4.2,v3", Version::V3),
        ("v3,nfsvers=4.1", Version::V4Minor(1)),
        ("minorversion=1,vers=3", Version::V3),
    ] {
        assert_eq!(parse(&[text]).unwrap().0.version, Some(version), "{text}");
    }
}

#[test]
fn an_option_that_mount_8_uses_for_something_else_is_refused() {
    for name in ["remount", "bind", "loop", "private", "nosymfollow"] {
        assert_eq!(parse(&[name]), Err(OptionError::Operation(name.to_owned())));
    }
}

#[test]
fn udp_is_refused_for_nfs_4() {
    for text in ["udp", "proto=udp,vers=4.1", "vers=3,udp,vers=4"] {
        let error = parse(&[text]).unwrap_err().to_string();
        assert!(error.contains("add nfsvers=3"), "{text}: {error}");
    }
    assert!(parse(&["udp,vers=3"]).is_ok() && parse(&["udp,tcp"]).is_ok());
}

#[test]
fn the_port_of_rdma_is_another_one() {
    let port = |text: &str| parse(&[text]).unwrap().0.port();
    assert_eq!([port(""), port("rdma"), port("proto=rdma,port=1"), port("port=0")], [2049, 20049, 1, 2049]);
}

#[test]
fn a_transport_can_limit_the_addresses() {
    let allows = |text: &str, address: &str| parse(&[text]).unwrap().0.allows(address.parse().unwrap());
    assert!(allows("tcp", "::1") && allows("proto=tcp6", "::1") && allows("proto=tcp", "10.0.0.5"));
    assert!(!allows("proto=tcp", "::1") && !allows("proto=tcp6", "10.0.0.5"));
}

#[test]
fn contradictions_within_one_list_are_found() {
    let found = |list: &[&str]| contradictions(list).unwrap();
    let pair = |a: &str, b: &str| vec![(a.to_owned(), b.to_owned())];
    assert_eq!(found(&["soft,timeo=600", "hard"]), pair("soft", "hard"));
    assert_eq!(found(&["nfsvers=4.1,v3"]), pair("nfsvers=4.1", "v3"));
    assert_eq!(found(&["ro,rw"]), pair("ro", "rw"));
    assert_eq!(found(&["rw,ro"]), pair("rw", "ro"));
    assert_eq!(found(&["nosoftreval,softreval"]), pair("nosoftreval", "softreval"));
    assert_eq!(found(&["exec", "user"]), pair("exec", "user"));
    assert_eq!(found(&["timeo=1", "timeo=2"]), pair("timeo=1", "timeo=2"));
    for fine in [
        "hard,hard",
        "actimeo=5,acregmin=7",
        "hard,timeo=600,ro,nosuid",
        "vers=4,minorversion=1",
        "bg,fg",
        "rw,user",
    ] {
        assert_eq!(found(&[fine]), [], "{fine}");
    }
}
