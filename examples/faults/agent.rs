//! The guest of the server that fails. It executes scripts that the driver's guest sends. This file has both sides, and also the requests that
//! the driver's guest sends to the machine.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::host::{FAULTY, HOST};

const PORT: u16 = 701;
/// How long the server may take to boot, and to execute a script.
const PATIENCE: Duration = Duration::from_mins(1);

/// The export is an XFS with project quota on a disk that stays when the guest is killed. `$fsid` is the id of the file system in the
/// handles of its files.
const SETUP: &str = r#"
set -e
ip addr add 10.79.0.1/24 dev vec0
ip link set vec0 up
ip route add 10.77.0.0/16 via 10.79.0.2
modprobe xfs
xfs_db -r -c quit /dev/ubda 2>/dev/null || mkfs.xfs -q /dev/ubda
mkdir -p /export
mount -t tmpfs -o mode=755 tmpfs /export
mkdir /export/share
mount -o prjquota /dev/ubda /export/share
ln -sfn /export/share /share
rm -rf /etc/exports.d /etc/nfs.conf.d
printf '[mountd]\nmanage-gids=n\n' >/etc/nfs.conf
cat >/run/export <<'END'
# usage: export FSID OPTIONS
echo "/export *(ro,no_root_squash,insecure,no_subtree_check,fsid=0)
/export/share *($2,insecure,no_subtree_check,fsid=$1)" >/etc/exports
END
bash /run/export 10 rw,no_root_squash
/run/vm/guest/nfsd start
"#;

/// Executes scripts until the guest ends. Each connection sends one script and receives its exit status and its output.
pub(crate) fn serve() -> Result<bool> {
    let setup = Command::new("bash").args(["-c", SETUP]).status()?;
    ensure!(setup.success(), "the server could not be prepared");
    for stream in TcpListener::bind(("0.0.0.0", PORT))?.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || {
            let mut script = String::new();
            stream.read_to_string(&mut script)?;
            let output = Command::new("bash").args(["-c", &format!("exec 2>&1; {script}")]).output()?;
            writeln!(stream, "{}", output.status.code().unwrap_or(-1))?;
            stream.write_all(&output.stdout)
        });
    }
    Ok(true)
}

/// Executes a script on the server that fails, and returns its output. The server must run.
pub(crate) fn on_server(script: &str) -> Result<String> {
    send(&format!("{FAULTY}:{PORT}"), &format!("set -e; {script}"))
        .with_context(|| format!("on the server that fails: {script}"))
}

/// Asks the machine to do something with the server's guest: `pause`, `continue`, `kill`, `start`, `refuse` or `no-refuse`.
pub(crate) fn on_host(order: &str) -> Result<()> {
    send(HOST, order).map(drop).with_context(|| format!("order to the machine: {order}"))
}

/// How many threads of the machine want a processor for each that there is, but at least 1. What takes a second while the machine does nothing
/// else may take as many seconds.
pub(crate) fn load() -> Result<f64> {
    let answer = send(HOST, "load").context("the load of the machine")?;
    Ok(answer.trim().parse::<f64>()?.max(1.0))
}

/// Waits until the server that fails has booted.
pub(crate) fn server_is_up() -> Result<()> {
    let begun = Instant::now();
    loop {
        match on_server("true") {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn send(address: &str, text: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once('\n') {
        Some(("0", output)) => Ok(output.to_owned()),
        Some((status, output)) => bail!("exit status {status}: {output}"),
        None => bail!("no answer"),
    }
}
