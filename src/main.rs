//! The binary: reads the command line, makes the process what it has to be, serves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use nfs_subdir_csi::config::{Cli, Command, Common};
use nfs_subdir_csi::csi::call::Bridge;
use nfs_subdir_csi::csi::controller::Controller;
use nfs_subdir_csi::csi::identity::Identity;
use nfs_subdir_csi::csi::node::Node;
use nfs_subdir_csi::linux::mount::SysMounter;
use nfs_subdir_csi::linux::{Mounter, namespace};
use nfs_subdir_csi::server::{self, Role};
use nfs_subdir_csi::volume::{Exports, publish};
use nfs_subdir_csi::{endpoint, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// How long calls under way may take to end after SIGTERM. Kubernetes kills after 30 s.
const DRAIN: Duration = Duration::from_secs(20);
/// An idle blocking thread is kept: starting one costs more than a call.
const THREAD_KEEP_ALIVE: Duration = Duration::from_hours(24);

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let (common, kubelet_dir) = match &cli.command {
        Command::Controller(common) => (common, None),
        Command::Node(args) => (&args.common, Some(args.kubelet_dir.as_path())),
    };
    telemetry::start(common.log_format, &common.log_level)?;
    let socket = endpoint::parse(&common.endpoint)?;
    let listener = endpoint::bind(&socket)?;
    // While there is one thread: the namespace and the umask are the whole process's.
    namespace::enter(&common.state_dir, kubelet_dir).context("make a mount namespace")?;
    nfs_subdir_csi::linux::clear_umask();

    let identity = Identity { driver_name: common.driver_name.clone() };
    let role = compose(&cli.command)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .build()
        .context("start the runtime")?;
    tracing::info!(
        driver = identity.driver_name,
        version = env!("CARGO_PKG_VERSION"),
        socket = %socket.display(),
        "serving"
    );
    let served = runtime.block_on(async {
        let shutdown = stop_signal()?;
        let (begin_drain, drain_begun) = tokio::sync::oneshot::channel();
        let serving = server::run(listener, identity, role, async {
            shutdown.await;
            tracing::info!("stopping: calls under way are finished");
            let _ = begin_drain.send(());
        });
        tokio::select! {
            served = serving => served,
            () = async { let _ = drain_begun.await; tokio::time::sleep(DRAIN).await } => {
                tracing::warn!("calls are still under way after {} s; the next start finds what they did", DRAIN.as_secs());
                Ok(())
            }
        }
    });
    // A thread that waits for a dead server would be waited for without end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let _ = std::fs::remove_file(&socket);
    tracing::info!("stopped");
    served
}

/// Puts the parts together.
fn compose(command: &Command) -> anyhow::Result<Role> {
    let parts = |common: &Common| {
        let mounter: Arc<dyn Mounter> = Arc::new(SysMounter::new(resolve(&common.state_dir)?));
        let exports = Arc::new(Exports::new(Arc::clone(&mounter), common.export_linger));
        anyhow::Ok((mounter, exports, Bridge::new(common.call_timeout)))
    };
    Ok(match command {
        Command::Controller(common) => {
            let (_, exports, bridge) = parts(common)?;
            Role::Controller(Controller { bridge, exports })
        }
        Command::Node(args) => {
            let (mounter, exports, bridge) = parts(&args.common)?;
            let publisher = Arc::new(publish::Node::new(exports, mounter, resolve(&args.kubelet_dir)?));
            Role::Node(Node { bridge, publisher, node_id: args.node_id.clone() })
        }
    })
}

/// The directory without links, as the mount table writes it.
fn resolve(dir: &std::path::Path) -> anyhow::Result<PathBuf> {
    dir.canonicalize().with_context(|| format!("resolve {}", dir.display()))
}

/// Resolves at SIGTERM or SIGINT. The handlers are in place when this returns.
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
