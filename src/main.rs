//! The binary: it reads the command line, prepares the process, and serves or runs the command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use nfs_subdir_csi::cluster::ApiServer;
use nfs_subdir_csi::config::{Cli, Command, Common, ConfigCommand, LogFormat, NodeArgs};
use nfs_subdir_csi::csi::call::dispatcher::Dispatcher;
use nfs_subdir_csi::csi::call::lane::{THREADS, WIDTH};
use nfs_subdir_csi::csi::controller::Controller;
use nfs_subdir_csi::csi::identity::Identity;
use nfs_subdir_csi::csi::node::Node;
use nfs_subdir_csi::csi::probe::probe;
use nfs_subdir_csi::csi::registration::Registration;
use nfs_subdir_csi::linux::mount::SysMounter;
use nfs_subdir_csi::linux::{Mounter, namespace};
use nfs_subdir_csi::server::{self, Role};
use nfs_subdir_csi::telemetry::Level;
use nfs_subdir_csi::volume::jobs;
use nfs_subdir_csi::volume::jobs::CopyJobs;
use nfs_subdir_csi::volume::node::publish;
use nfs_subdir_csi::volume::policy::settings::{LiveSettings, Settings};
use nfs_subdir_csi::volume::share::mounts::Exports;
use nfs_subdir_csi::volume::volumes::Volumes;
use nfs_subdir_csi::{config_file, endpoint, operate, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// How long calls that are under way may take after SIGTERM. Kubernetes sends SIGKILL after 30 s.
const DRAIN: Duration = Duration::from_secs(20);
/// How long the process waits for NFS servers after that, to remove what it has of its own on the exports.
const LEAVE: Duration = Duration::from_secs(2);
/// An idle thread is kept for so long, because starting one takes more time than a call.
const THREAD_KEEP_ALIVE: Duration = Duration::from_hours(24);

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nfs-subdir-csi: {}", telemetry::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    match &Cli::parse().command {
        Command::Probe { endpoint } => ask_whether_it_works(&endpoint::parse(endpoint)?),
        Command::Config(ConfigCommand::Check { file }) => check_config(file),
        Command::Operate(command) => {
            telemetry::start(LogFormat::Human, "warn")?;
            return Ok(operate::run(command)?.into());
        }
        Command::Import(args) => nfs_subdir_csi::import::run(args),
        Command::Quota(args) => {
            end_at_signals()?;
            nfs_subdir_csi::quota::run(args)
        }
        Command::Controller(common) => serve(common, None),
        Command::Node(args) => serve(&args.common, Some(args)),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn check_config(file: &Path) -> anyhow::Result<()> {
    let settings = config_file::load(file)?;
    println!("{} can be used: {} exports", file.display(), settings.exports.len());
    for (name, export) in &settings.exports {
        let sources: Vec<String> = export.sources.iter().map(ToString::to_string).collect();
        let is_default = if settings.default_export.as_ref() == Some(name) { " (default)" } else { "" };
        println!("  {name}{is_default}: {}", sources.join(", "));
        if let Some((earlier, later)) = export.contradictions()?.into_iter().next() {
            bail!(
                "export `{name}`: mount option `{earlier}` has no effect, because `{later}` comes after it: remove one of them"
            );
        }
    }
    Ok(())
}

/// Succeeds if the service at `socket` works.
fn ask_whether_it_works(socket: &Path) -> anyhow::Result<()> {
    let runtime = runtime()?;
    runtime.block_on(probe(socket)).with_context(|| format!("probe {}", socket.display()))
}

/// Runs a service until the process is told to stop: the node service if `node` is given, and otherwise the controller.
fn serve(common: &Common, node: Option<&NodeArgs>) -> anyhow::Result<()> {
    let level = telemetry::start(common.log.log_format, &common.log.log_level)?;
    let socket = endpoint::parse(&common.endpoint)?;
    // Before there is a second thread, because a mount namespace belongs to one thread and those that it starts.
    namespace::enter(&common.state_dir, node.map(|args| args.kubelet_dir.as_path()))
        .context("make a mount namespace")?;

    let dispatcher = Dispatcher::new(common.call_timeout);
    let identity = Identity { driver_name: common.driver_name.clone(), dispatcher: dispatcher.clone() };
    let role = compose(common, node, dispatcher, level)?;
    let exports = Arc::clone(role.exports());
    // The socket comes last, so that a client that finds it can be served.
    let listener = endpoint::bind(&socket)?;
    let registration = Registration { driver_name: common.driver_name.clone(), socket: socket.clone() };
    let kubelet = node.filter(|args| args.register);
    let registration_socket = kubelet.map(|args| registration.place(&args.kubelet_dir));
    let registration_listener = registration_socket.as_deref().map(endpoint::bind).transpose()?;
    nfs_subdir_csi::linux::clear_umask();
    nfs_subdir_csi::linux::raise_open_files().context("raise the limit of open files")?;
    let runtime = runtime()?;
    tracing::info!(
        driver = identity.driver_name,
        version = env!("CARGO_PKG_VERSION"),
        socket = %socket.display(),
        "serving"
    );
    let served = runtime.block_on(async {
        let shutdown = stop_signal()?;
        if let Some(listener) = registration_listener {
            tokio::spawn(async {
                if let Err(error) = server::register(listener, registration).await {
                    tracing::error!(%error, "the socket for the registration has failed; kubelet cannot register the driver");
                }
            });
        }
        let (begin_drain, drain_begun) = tokio::sync::oneshot::channel();
        let serving = server::run(listener, identity, role, common.metrics_address, async {
            shutdown.await;
            tracing::info!("stopping; calls that are under way are finished");
            let _ = begin_drain.send(());
        });
        tokio::select! {
            served = serving => served,
            () = async { let _ = drain_begun.await; tokio::time::sleep(DRAIN).await } => {
                tracing::warn!("calls are still under way after {} s; a retry finds what they have done", DRAIN.as_secs());
                Ok(())
            }
        }
    });
    // Without a limit this would wait forever for a thread that waits for a dead server.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exports.leave(LEAVE);
    // When the socket of the registration disappears, kubelet forgets the driver and sends no further calls.
    for socket in registration_socket.iter().chain([&socket]) {
        let _ = std::fs::remove_file(socket);
    }
    tracing::info!("stopped");
    served
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .max_blocking_threads(THREADS)
        .build()
        .context("start the runtime")
}

/// Creates the service with everything it needs.
fn compose(
    common: &Common,
    node: Option<&NodeArgs>,
    dispatcher: Dispatcher,
    level: Level,
) -> anyhow::Result<Role> {
    let mounter: Arc<dyn Mounter> = Arc::new(SysMounter::new(resolve(&common.state_dir)?));
    let copies = Arc::new(CopyJobs::default());
    let settings = live_settings(common, &dispatcher, &copies, level)?;
    let exports = Exports::new(Arc::clone(&mounter), common.export_linger);
    let volumes = Volumes {
        settings,
        exports: Arc::new(exports.with_abandoned_after(common.abandoned_after)),
        copies,
        claims: Arc::new(ApiServer::in_cluster()),
    };
    Ok(match node {
        None => Role::Controller(Controller { dispatcher, volumes: Arc::new(volumes) }),
        Some(args) => {
            let kubelet_dir = resolve(&args.kubelet_dir)?;
            let publisher =
                publish::Publisher::new(volumes, mounter, kubelet_dir, &common.driver_name, &args.node_id);
            Role::Node(Node { dispatcher, publisher: Arc::new(publisher), node_id: args.node_id.clone() })
        }
    })
}

/// The settings in the configuration file, which follow its changes. Without a file they are the defaults.
fn live_settings(
    common: &Common,
    dispatcher: &Dispatcher,
    copies: &Arc<CopyJobs>,
    level: Level,
) -> anyhow::Result<Arc<LiveSettings>> {
    let Some(path) = common.config.clone() else { return Ok(Arc::default()) };
    let settings = config_file::load(&path)?;
    let (dispatcher, copies) = (dispatcher.clone(), Arc::clone(copies));
    let apply = move |settings: &Settings| {
        dispatcher.places().set_width(settings.calls_per_export.unwrap_or(WIDTH));
        level.set(settings.log_level.as_deref());
        copies.set_limits(settings.copies_at_once.unwrap_or(jobs::AT_ONCE), settings.copy_time);
    };
    apply(&settings);
    let live = Arc::new(LiveSettings::new(settings));
    config_file::watch(path, Arc::clone(&live), apply);
    Ok(live)
}

/// The path of a directory without symbolic links, as the mount table writes it.
fn resolve(dir: &Path) -> anyhow::Result<PathBuf> {
    dir.canonicalize().with_context(|| format!("resolve {}", dir.display()))
}

/// Ends the process at SIGTERM or SIGINT. The first process of a container ignores them by default. For commands that can be killed at any
/// instruction.
fn end_at_signals() -> anyhow::Result<()> {
    let runtime = runtime()?;
    let signal = runtime.block_on(async { stop_signal() })?;
    let wait = move || {
        runtime.block_on(signal);
        std::process::exit(0);
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .context("start a thread for signals")?;
    Ok(())
}

/// A future that ends at SIGTERM or SIGINT. The signal handlers are installed when this function returns.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handle SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
