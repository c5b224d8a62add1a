//! The command line and its error messages.

use std::process::{Command, Stdio};

#[test]
fn flags_are_checked_before_anything_is_done() {
    let run = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_nfs-subdir-csi")).args(args).stdin(Stdio::null()).output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (ok, text) = run(&["node", "--endpoint", "unix:///nowhere/csi.sock"]);
    assert!(!ok && text.contains("--node-id"), "{text}");
    let (ok, text) = run(&["controller", "--driver-name", "not/a/name"]);
    assert!(!ok && text.contains("at most 63 letters"), "{text}");
    let (ok, text) = run(&["controller", "--endpoint", "tcp://127.0.0.1:1"]);
    assert!(!ok && text.contains("unix:///path"), "{text}");
}

#[test]
fn config_check_accepts_a_good_file_and_names_the_line_of_a_mistake() {
    let temporary = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let file = temporary.path().join("config.yaml");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nfs-subdir-csi"));
        let output = command.args(["config", "check"]).arg(&file).stdin(Stdio::null()).output().unwrap();
        let of = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), of(output.stdout), of(output.stderr))
    };
    let (code, text, _) = check("exports: [{name: a, servers: [h, i], share: /s}]\ndefaultExport: a\n");
    assert_eq!(code, Some(0));
    assert!(text.contains("1 exports\n  a (default): h:/s, i:/s\n"), "{text}");
    for (text, line, word) in [
        ("exports:\n  - name: a\n    server: h\n    sahre: /s\n", "line 4", "unknown field `sahre`"),
        ("onDelete: delete\ninline:\n  servers: nas\n", "line 3", "sequence"),
        ("onDelete: destroy\n", "line 1", "destroy"),
        ("exports: [{name: a\n", "line", ""),
        ("onDelete: delete\nonDelete: retain\n", "line 2", "onDelete"),
        (
            "exports: [{name: a, server: h, share: /s, mountOptions: [soft, hard]}]\n",
            "export `a`",
            "`soft` has no effect",
        ),
        (
            "exports: [{name: a, server: h, share: /s, mountOptions: [harrd]}]\n",
            "export `a`",
            "did you mean `hard`?",
        ),
    ] {
        let (code, _, errors) = check(text);
        assert_eq!(code, Some(1), "{text}");
        assert!(errors.contains(line) && errors.contains(word), "{text}: {errors}");
    }
}

#[test]
fn a_command_that_fails_prints_its_error_in_one_line() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let (socket, file) = (at("csi.sock"), at("absent.yaml"));
    let probe = format!("nfs-subdir-csi: probe {socket}: cannot connect: No such file or directory");
    let check = format!("nfs-subdir-csi: read {file}: No such file or directory");
    for (args, beginning) in
        [(["probe", "--endpoint", &format!("unix://{socket}")], &probe), (["config", "check", &file], &check)]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_nfs-subdir-csi")).args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with(beginning.as_str()) && text.lines().count() == 1, "{text}");
        for form_of_rust in ["Caused by", "ConnectError", "Error(", "backtrace"] {
            assert!(!text.contains(form_of_rust), "{text}");
        }
    }
}
