//! The command line, as a person meets it.

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
