//! Shell completions and man pages, as `make manual` writes them.

#[path = "../../examples/manual/pages.rs"]
mod pages;

use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use nfs_subdir_csi::config::Cli;

/// Calls `see` with each command that a user can give, and its words.
fn each_command(command: &clap::Command, words: &[String], see: &mut impl FnMut(&clap::Command, &[String])) {
    see(command, words);
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        each_command(subcommand, &[words, &[subcommand.get_name().to_owned()]].concat(), see);
    }
}

#[test]
fn each_command_has_a_page_with_all_its_flags() {
    let files = pages::files().unwrap();
    let mut commands = 0;
    each_command(&Cli::command(), &["nfs-subdir-csi".to_owned()], &mut |command, words| {
        let path = format!("man/man8/{}.8", words.join("-"));
        let page = files.get(Path::new(&path)).unwrap_or_else(|| panic!("no {path}"));
        // roff(7) has a backslash before a dash.
        let page = String::from_utf8(page.clone()).unwrap().replace('\\', "");
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{path}");
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("--{flag}")), "{path}: {flag}");
        }
        commands += 1;
    });
    assert!(commands > 15, "{commands}");
}

#[test]
fn bash_completes_commands_and_flags() {
    let files = pages::files().unwrap();
    let script = &files[Path::new("bash-completion/completions/nfs-subdir-csi")];
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("script");
    std::fs::write(&path, script).unwrap();
    let complete = |words: &[&str]| {
        let ask = r#". "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); cur=${!#}
            function=$(complete -p nfs-subdir-csi | sed 's/.* -F \([^ ]*\) .*/\1/') || exit
            "$function" nfs-subdir-csi "$cur" "${COMP_WORDS[COMP_CWORD - 1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
        let mut command = Command::new("bash");
        command.args(["-c", ask]).arg(&path).arg("nfs-subdir-csi").args(words).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["do"]), ["doctor"]);
    assert_eq!(complete(&["trash", "re"]), ["restore"]);
    let flags = complete(&["doctor", "--s"]);
    for flag in ["--server", "--share", "--state-dir"] {
        assert!(flags.iter().any(|one| one == flag), "{flags:?}");
    }
}

#[test]
fn all_shells_have_a_script() {
    let files = pages::files().unwrap();
    for (path, word) in [
        ("zsh/site-functions/_nfs-subdir-csi", "#compdef"),
        ("fish/vendor_completions.d/nfs-subdir-csi.fish", "complete -c"),
    ] {
        let script = String::from_utf8(files[Path::new(path)].clone()).unwrap();
        assert!(script.contains(word) && script.contains("doctor"), "{path}");
    }
}
