//! The driver's two services in the guest, a kubelet directory, and both servers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::agent;
use crate::clients::{self, Client, FAULTY, HEALTHY, Link};
use crate::host::run;
use crate::support::{self, Service};

/// The bound of every call in this program, in seconds. It is the flag `--call-timeout`.
pub(crate) const CALL_TIMEOUT: u64 = 15;
/// Kubernetes kills a container 30 s after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);
/// How long the last thread of a service may take to unmount what the service had mounted, if all servers answer.
const LAST_THREAD: Duration = Duration::from_secs(3);
const DIR: &str = "/run/faults";
pub(crate) const KUBELET: &str = "/run/faults-kubelet";

/// The version of NFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V3,
    V42,
}

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "3" => Ok(Self::V3),
            "4.2" => Ok(Self::V42),
            _ => anyhow::bail!("NFS {text}: only 4.2 and 3 are tried"),
        }
    }
}

impl Version {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V3 => "3",
            Self::V42 => "4.2",
        }
    }

    /// The mount options of both exports. Locks of NFS 3 would need a program on every node.
    const fn options(self) -> &'static str {
        match self {
            Self::V3 => "nfsvers=3, nolock",
            Self::V42 => "nfsvers=4.2",
        }
    }
}

/// The driver in its guest.
pub(crate) struct World {
    driver: PathBuf,
    pub(crate) clients: [Client; 2],
    services: Option<Services>,
    /// The longest median time of a publish on the healthy export before a fault of this run.
    pub(crate) healthy: Duration,
}

/// The running services and a client of each.
pub(crate) struct Services {
    pub(crate) controller: Service,
    pub(crate) node: Service,
    pub(crate) clients: Clients,
}

/// The clients of both services.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) controller: support::Client,
    pub(crate) node: support::Client,
}

/// Writes the configuration of the services: exports of the server that fails, each with its share, and the healthy export.
pub(crate) fn configure(version: Version, faulty: &[(&str, &str)], limits: &str) -> Result<()> {
    let export = |name: &str, server: &str, share: &str| {
        let options = version.options();
        // A full file system must be found by the server, and not by the driver before it asks the server for anything.
        format!(
            "  - {{name: {name}, server: {server}, share: {share}, mountOptions: [{options}], capacityPolicy: ignore}}\n"
        )
    };
    let faulty: String = faulty.iter().map(|(name, share)| export(name, FAULTY, share)).collect();
    let config = format!("exports:\n{faulty}{}{limits}", export("healthy", HEALTHY, "/share"));
    Ok(std::fs::write(format!("{DIR}/config.yaml"), config)?)
}

impl World {
    /// Prepares the guest and waits for the server. The services do not run yet.
    pub(crate) fn make(driver: &Path, version: Version) -> Result<Self> {
        std::fs::create_dir_all(DIR)?;
        std::fs::create_dir_all(KUBELET)?;
        run(Command::new("mount").args(["-t", "tmpfs", "kubelet", KUBELET]))?;
        run(Command::new("mount").args(["--make-rshared", KUBELET]))?;
        clients::prepare()?;
        agent::server_is_up()?;
        // All calls of a cell run at once, and none of them may wait for the place of another one.
        configure(version, &[("faulty", "/share")], "limits:\n  callsPerExport: 64\n")?;
        let clients = [Client::make(1)?, Client::make(2)?];
        Ok(Self { driver: driver.to_owned(), clients, services: None, healthy: Duration::ZERO })
    }

    /// Starts both services. They must not run.
    pub(crate) async fn start(&mut self) -> Result<()> {
        let node = ["--node-id", "node-1", "--kubelet-dir", KUBELET];
        let controller = self.launch("controller", 0, &[])?;
        let node = self.launch("node", 1, &node)?;
        let clients = Clients { controller: controller.client().await, node: node.client().await };
        self.services = Some(Services { controller, node, clients });
        Ok(())
    }

    fn launch(&self, role: &str, client: usize, args: &[&str]) -> Result<Service> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(format!("{DIR}/{role}.log"))?;
        let mut command = self.clients[client].command();
        command.arg(&self.driver).stdout(log.try_clone()?).stderr(log);
        let (config, state_dir) = (format!("{DIR}/config.yaml"), format!("{DIR}/{role}"));
        let timeout = CALL_TIMEOUT.to_string();
        let own = [
            "--config",
            &config,
            "--state-dir",
            &state_dir,
            "--call-timeout",
            &timeout,
            "--abandoned-after",
            "5",
        ];
        Ok(Service::launch(command, role, Path::new(DIR), &[&own, args].concat()))
    }

    /// Sends both services a signal, and waits until they have ended.
    pub(crate) async fn end(&mut self, signal: &str) -> Result<()> {
        let Some(services) = self.services.take() else { return Ok(()) };
        let processes = [services.controller.pid(), services.node.pid()];
        for process in processes {
            run(Command::new("kill").args([signal, &process.to_string()]))?;
        }
        let begun = Instant::now();
        while !processes.iter().all(|process| serves_no_more(*process)) {
            if begun.elapsed() > GRACE {
                let tasks = processes.map(|process| tasks(process).join("; "));
                // To drop them would wait until they have ended.
                std::mem::forget(services);
                bail!("a service serves {GRACE:?} after kill {signal}: {tasks:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The last thread of a process unmounts the exports, and returns what the server has delegated to this client. A dead server
        // delays that in the kernel, where nobody can end it.
        let late = || processes.iter().any(|process| tasks(*process).len() > 1);
        let begun = Instant::now();
        while late() && begun.elapsed() < LAST_THREAD {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if late() {
            println!("  the kernel keeps a thread of a service that has ended, until the server answers");
            std::mem::forget(services);
        }
        Ok(())
    }

    pub(crate) fn services(&self) -> Result<&Services> {
        self.services.as_ref().context("the services do not run")
    }

    pub(crate) fn calls(&self) -> Result<Clients> {
        Ok(self.services()?.clients.clone())
    }

    /// Changes the links of both services to the server that fails.
    pub(crate) fn link(&self, link: Link) -> Result<()> {
        self.clients.iter().try_for_each(|client| client.set(link))
    }

    /// The longest time that the node service has needed for a call, by its own log. What is more than that is the time until the call
    /// reaches the service: the guest has one processor.
    pub(crate) fn longest_in_log(rpc: &str) -> Duration {
        let log = std::fs::read_to_string(format!("{DIR}/node.log")).unwrap_or_default();
        let call = format!("rpc=\"{rpc}\"");
        let time = |line: &str| line.split(" ms=").nth(1)?.split(' ').next()?.parse::<f64>().ok();
        let times = log.lines().filter(|line| line.contains(&call)).filter_map(time);
        Duration::from_secs_f64(times.fold(0.0, f64::max) / 1000.0)
    }

    /// The last lines of the services' logs.
    pub(crate) fn logs() -> String {
        let tail = |role: &str| {
            let log = std::fs::read_to_string(format!("{DIR}/{role}.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("--- log of the {role}\n{}\n", lines[lines.len().saturating_sub(60)..].join("\n"))
        };
        tail("controller") + &tail("node")
    }
}

/// Whether the main thread of a process has ended.
fn serves_no_more(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// Each thread of a process with its state and what it waits for.
fn tasks(process: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let describe = |task: std::fs::DirEntry| {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
        format!("{state} {} {}", read("wchan"), read("stack").replace('\n', " "))
    };
    tasks.map(describe).collect()
}
