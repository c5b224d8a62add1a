//! `nfs-subdir-csi doctor`: what is wrong with an export.
//!
//! Each export is examined by a process of its own, because a system call that waits for a silent server may never end, and neither may its
//! process. This one reads what the other finds, and gives it up when one look takes too long.

mod child;
mod features;
mod latency;
mod line;
mod network;
mod scratch;
mod storage;
mod users;

use std::io::{BufRead, BufReader, Read, Write, stdout};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;

use self::line::{Line, Message, State};
use crate::config::doctor::DoctorArgs;
use crate::config_file;
use crate::terminal::printable;
use crate::volume::name::export::{Export, ExportRef};

/// How long the other process may take before its first look.
const START: Duration = Duration::from_secs(20);
/// How much longer than it says a look may take, on a machine that is busy.
const SLACK: Duration = Duration::from_secs(2);
/// With this variable, a process is the one that examines. Its value is one of the next two. Users have no flag for this.
const ROLE: &str = "NFS_SUBDIR_CSI_DOCTOR";
const AS_CONFIGURED: &str = "as-configured";
/// The configuration need not allow the server.
const REGARDLESS: &str = "regardless";

/// Examines the exports. Returns whether all of them can be used.
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<bool> {
    if let Ok(role) = std::env::var(ROLE) {
        child::examine(args, role == REGARDLESS)?;
        return Ok(true);
    }
    let mut usable = true;
    for export in exports(args)? {
        let mut say = |line: &Line| {
            usable &= line.state != State::Fail;
            print(&export, line, args.on.json)
        };
        if !args.on.json {
            writeln!(stdout(), "{}", printable(&export))?;
        }
        examine(args, &export, &mut say)?;
    }
    Ok(usable)
}

/// The exports that are examined, as the other process gets them.
fn exports(args: &DoctorArgs) -> anyhow::Result<Vec<String>> {
    if let (Some(server), Some(share)) = (&args.server, &args.share) {
        let export = Export::new(server.trim_start_matches('[').trim_end_matches(']'), share)?;
        return Ok(vec![ExportRef::Inline(export).to_string()]);
    }
    let mut exports = args.on.exports.clone();
    if let (true, Some(file)) = (exports.is_empty(), &args.on.config) {
        exports = config_file::load(file)?.exports.into_keys().collect();
    }
    if exports.is_empty() {
        bail!(
            "there is no export: name one with --server and --share, with --export, or a configuration file with --config"
        );
    }
    Ok(exports)
}

fn print(export: &str, line: &Line, json: bool) -> std::io::Result<()> {
    if !json {
        return writeln!(stdout(), "{line}");
    }
    let mut object = json!({
        "export": export,
        "check": line.check,
        "state": line.state,
        "found": line.found,
        "advice": line.advice,
    });
    if let Some([half, most, nearly_all]) = line.milliseconds {
        object["p50Milliseconds"] = half.into();
        object["p90Milliseconds"] = most.into();
        object["p99Milliseconds"] = nearly_all.into();
    }
    writeln!(stdout(), "{object}")
}

/// Examines an export. Ends when one look takes too long.
fn examine(
    args: &DoctorArgs,
    export: &str,
    say: &mut impl FnMut(&Line) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut child = start(args, export)?;
    let (messages, errors) = (messages_of(&mut child), errors_of(&mut child));
    let (mut check, mut limit) = ("start".to_owned(), START);
    loop {
        match messages.recv_timeout(limit + SLACK) {
            Ok(Message::Begin { check: next, seconds }) => {
                (check, limit) = (next, Duration::from_secs(seconds));
            }
            Ok(Message::Line(line)) => say(&line)?,
            Err(RecvTimeoutError::Timeout) => {
                // It ends when the server answers again, or never; nobody waits for it.
                child.kill().ok();
                say(&hangs(&check, limit))?;
                return Ok(());
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().context("wait for the process that examines")?;
    if !status.success() {
        let reason = errors.recv_timeout(SLACK).unwrap_or_default();
        let reason = reason.trim().trim_start_matches("nfs-subdir-csi: ");
        bail!("{export}: {} ({status}, at {check})", if reason.is_empty() { "it ended" } else { reason });
    }
    Ok(())
}

fn hangs(check: &str, limit: Duration) -> Line {
    Line::fail(
        check,
        format!("no answer for {} s; what comes after this was not looked at", limit.as_secs()),
        "the server does not answer any more: does it run, is it overloaded, and does a firewall drop packets? A directory \
         .nfs-subdir-csi-doctor.* may be left at the top of the share; a later run removes it",
    )
}

fn start(args: &DoctorArgs, export: &str) -> anyhow::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["doctor", "--export", export, "--state-dir"]).arg(&args.on.state_dir);
    command.env(ROLE, if args.server.is_some() { REGARDLESS } else { AS_CONFIGURED });
    if let Some(file) = &args.on.config {
        command.arg("--config").arg(file);
    }
    if !args.mount_options.is_empty() {
        command.arg("--mount-options").arg(args.mount_options.join(","));
    }
    // Nothing of this process's output may stay open in one that does not end: whoever reads it would wait.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("start a process that examines the export")
}

/// The messages of the other process. A line that is none is left out.
fn messages_of(child: &mut Child) -> Receiver<Message> {
    let (sender, messages) = channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(message) = serde_json::from_str(&line)
                    && sender.send(message).is_err()
                {
                    break;
                }
            }
        });
    }
    messages
}

fn errors_of(child: &mut Child) -> Receiver<String> {
    let (sender, errors) = channel();
    if let Some(mut output) = child.stderr.take() {
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = output.read_to_string(&mut text);
            let _ = sender.send(text);
        });
    }
    errors
}
