//! The files, each at the place below a prefix such as `/usr/local/share` where shells and man(1) look for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use nfs_subdir_csi::config::Cli;

/// All files with their contents.
pub(crate) fn files() -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    for (shell, path) in [
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut script);
        files.insert(path.into(), script);
    }
    files.insert(format!("bash-completion/completions/{name}").into(), for_bash(&name).into_bytes());
    // So that each page names the whole command, such as `nfs-subdir-csi trash restore`.
    command.build();
    add_pages(&command, &mut files)?;
    Ok(files)
}

/// The script for Bash. clap_complete writes one that completes no subcommand if the name of the binary contains a dash, so it gets a name
/// without, and the last lines, which say for what the script is, get the real one.
fn for_bash(name: &str) -> String {
    let plain = name.replace('-', "");
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut Cli::command(), &plain, &mut script);
    String::from_utf8_lossy(&script).replace(&format!(" {plain}\n"), &format!(" {name}\n"))
}

/// The page of a command, and those of its subcommands.
fn add_pages(command: &Command, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> std::io::Result<()> {
    let title = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    Man::new(command.clone()).title(title.to_uppercase()).section("8").render(&mut page)?;
    files.insert(format!("man/man8/{title}.8").into(), page);
    for subcommand in command.get_subcommands().filter(|one| one.get_name() != "help" && !one.is_hide_set()) {
        add_pages(subcommand, files)?;
    }
    Ok(())
}
