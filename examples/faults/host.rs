//! The part that runs on the machine: starts two guests on one network, and does what only the machine can do with the server's guest.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::report;

/// The address, in the network of the guests, at which this machine accepts requests.
pub(crate) const HOST: &str = "10.79.0.254:700";
/// The address of the server that fails.
pub(crate) const FAULTY: &str = "10.79.0.1";
/// How long both guests may run, in seconds.
const LIMIT: &str = "7200";

/// Starts this program again in a new network namespace, so that it changes nothing on this machine.
pub(crate) fn in_own_network(driver: &Path, version: &str, part: &[&str]) -> Result<bool> {
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(std::env::current_exe()?).arg("--pair").arg(driver).arg(version);
    // In place of this process, so that a signal to it ends the guests.
    Err(command.args(part).exec()).context("unshare")
}

/// Runs both guests until the driver's one ends.
pub(crate) fn pair(driver: &Path, version: &str, part: &[&str]) -> Result<bool> {
    ip("link set lo up")?;
    ip("link add hub type bridge")?;
    ip("addr add 10.79.0.254/24 dev hub")?;
    ip("link set hub up")?;
    for tap in ["tap-driver", "tap-server"] {
        ip(&format!("tuntap add dev {tap} mode tap user root"))?;
        ip(&format!("link set {tap} master hub up"))?;
    }
    // The way back to the services, for a machine that takes the place of the server and refuses connections.
    ip("route add 10.77.0.0/16 via 10.79.0.2")?;
    let disk = std::env::temp_dir().join(format!("nfs-subdir-csi-faults.{}", std::process::id()));
    std::fs::File::create(&disk)?.set_len(4 << 30)?;
    let listener = TcpListener::bind(HOST)?;
    let server = Server { guest: Some(start_server(&disk)?), disk };
    std::thread::spawn(move || take_orders(&listener, server));

    let mut guest = vm_run("tap-driver")
        .args(["-m", "2G", "--"])
        .arg(std::env::current_exe()?)
        .arg("--guest")
        .arg(driver)
        .arg(version)
        .args(part)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(guest.stdout.take().context("no output")?);
    let mut table = None;
    for line in output.lines() {
        let line = line?;
        println!("{line}");
        report::collect(&mut table, &line);
    }
    let passed = guest.wait()?.success();
    // The other thread holds the server's guest, which ends with this process: vm/run gets SIGTERM from its parent's death.
    TcpStream::connect(HOST)?.write_all(b"end")?;
    if let Some(table) = table {
        report::keep(version, &table)?;
    }
    Ok(passed)
}

fn vm_run(tap: &str) -> Command {
    // pdeathsig: if this process is killed, the guests end too.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("vm/run"));
    command.args(["-t", LIMIT, "-n", tap]).stdin(Stdio::null());
    command
}

fn start_server(disk: &Path) -> Result<Child> {
    let mut command = vm_run("tap-server");
    command.args(["-b", "-m", "1G", "-w"]).arg(disk).arg("--").arg(std::env::current_exe()?).arg("--server");
    Ok(command.stdout(Stdio::null()).spawn()?)
}

/// The guest of the server, and its disk.
struct Server {
    guest: Option<Child>,
    disk: PathBuf,
}

fn take_orders(listener: &TcpListener, mut server: Server) {
    for stream in listener.incoming().flatten() {
        let mut stream = stream;
        let mut order = String::new();
        let done = stream.read_to_string(&mut order).map_err(Into::into).and_then(|_| server.obey(&order));
        let answer = done.map_or_else(|error| format!("1\n{error:#}"), |text| format!("0\n{text}"));
        let _ = stream.write_all(answer.as_bytes());
        if order == "end" {
            return;
        }
    }
}

impl Server {
    fn obey(&mut self, order: &str) -> Result<String> {
        match order {
            "load" => return load(),
            "pause" => self.signal("-STOP"),
            "continue" => self.signal("-CONT"),
            "kill" | "end" => self.end(),
            "start" => {
                ensure!(self.guest.is_none(), "the server runs");
                self.guest = Some(start_server(&self.disk)?);
                Ok(())
            }
            // Without a listener, this machine's kernel refuses connections by RST.
            "refuse" => ip(&format!("addr add {FAULTY}/32 dev hub")),
            "no-refuse" => ip(&format!("addr del {FAULTY}/32 dev hub")),
            _ => anyhow::bail!("no such order: {order}"),
        }?;
        Ok(String::new())
    }

    fn end(&mut self) -> Result<()> {
        if let Some(mut guest) = self.guest.take() {
            run(Command::new("kill").args(["-TERM", &guest.id().to_string()]))?;
            guest.wait()?;
        }
        Ok(())
    }

    /// Sends a signal to the guest's kernel, which is an ordinary process. The guest's own processes only run when it lets them.
    fn signal(&self, signal: &str) -> Result<()> {
        let guest = self.guest.as_ref().context("the server does not run")?;
        let kernel = kernel_below(guest.id()).context("the server's kernel does not run")?;
        run(Command::new("kill").args([signal, &kernel.to_string()])).map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.end();
        let _ = std::fs::remove_file(&self.disk);
    }
}

/// How many threads of this machine want a processor for each that there is: the mean of the last minute.
fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let load: f64 = text.split(' ').next().context("no load")?.parse()?;
    let processors = u32::try_from(std::thread::available_parallelism()?.get())?;
    Ok((load / f64::from(processors)).to_string())
}

/// The first process named linux.uml below this one.
fn kernel_below(process: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    let children: Vec<u32> = children.split_whitespace().filter_map(|id| id.parse().ok()).collect();
    let is_kernel = |id: &u32| {
        std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.starts_with("linux.uml"))
    };
    children.iter().copied().find(is_kernel).or_else(|| children.into_iter().find_map(kernel_below))
}

fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' '))).map(drop)
}

/// Runs a command that must succeed and returns its output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}: {}{text}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}
