//! The command line. Every flag of the two services can also be given as an environment variable.

pub mod doctor;
pub mod on_exports;
pub mod operate;
pub mod quota;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::volume::on_delete::OnDelete;
pub use values::{LogArgs, LogFormat};
use values::{seconds, seconds_above_zero};

/// The socket of a service, if no other one is given.
const ENDPOINT: &str = "unix:///csi/csi.sock";

/// The longest time after which a call must be answered.
const LONGEST_CALL: Duration = Duration::from_secs(110);

/// CSI driver that makes volumes out of directories of an NFS export
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands: the two services, and commands that end. A cluster has one controller, and a node service on every node.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve as the controller, which creates and deletes volumes; a cluster has one
    Controller(Common),
    /// Serve as the node service, which publishes volumes to pods; every node has one
    Node(NodeArgs),
    /// Take over volumes of the nfs-client provisioner or of csi-driver-nfs
    Import(ImportArgs),
    /// Limit volumes to their sizes, on the NFS server itself
    Quota(quota::QuotaArgs),
    /// Ask a service whether it works: exit code 0 if it does, otherwise 1 and the reason
    Probe {
        /// The socket of the service
        #[arg(long, env = "CSI_ENDPOINT", default_value = ENDPOINT, value_name = "unix:///PATH")]
        endpoint: String,
    },
    #[command(flatten)]
    #[allow(missing_docs)]
    Operate(operate::OperateCommand),
    /// Check configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// The arguments of `import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The old PersistentVolumes: the output of `kubectl get pv -o json`
    #[arg(long, value_name = "FILE")]
    pub pvs: PathBuf,

    /// The NFS server, as the old PersistentVolumes name it
    #[arg(long)]
    pub server: String,

    /// The share whose directories become volumes
    #[arg(long)]
    pub share: String,

    /// The name of that export in the driver's configuration, for the new handles
    #[arg(long, value_name = "NAME")]
    pub export: Option<String>,

    /// The CSI driver whose volumes are taken over
    #[arg(long, default_value = "nfs.csi.k8s.io", value_name = "NAME")]
    pub from_driver: String,

    /// The name of this driver, which gets the volumes
    #[arg(long, default_value = "nfs-subdir.csi.dev", value_name = "NAME", value_parser = driver_name)]
    pub driver_name: String,

    /// What happens to the directory of a deleted volume, if the old handle does not say it
    #[arg(long, default_value = "retain", value_name = "delete|retain|archive", value_parser = OnDelete::parse)]
    pub on_delete: OnDelete,

    /// The options to mount the share with
    #[arg(long, value_delimiter = ',')]
    pub mount_options: Vec<String>,

    /// The directory at which the share is mounted already
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// A directory in which the share is mounted if --directory is not given
    #[arg(long, default_value = "/run/nfs-subdir-csi", value_name = "DIR")]
    pub state_dir: PathBuf,

    /// A file for the new PersistentVolumes; without it they go to standard output
    #[arg(long, value_name = "FILE")]
    pub manifests: Option<PathBuf>,

    /// Write the records; without this flag, only print what would be done
    #[arg(long)]
    pub yes: bool,
}

/// What can be done with a configuration file.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check whether a file can be used, and print what is wrong with it
    Check {
        /// The file
        file: PathBuf,
    },
}

/// The arguments of both services.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The socket to serve at
    #[arg(long, env = "CSI_ENDPOINT", default_value = ENDPOINT, value_name = "unix:///PATH")]
    pub endpoint: String,

    /// The name of this driver in StorageClasses and PersistentVolumes
    #[arg(long, env = "DRIVER_NAME", default_value = "nfs-subdir.csi.dev", value_parser = driver_name)]
    pub driver_name: String,

    /// The configuration file; the driver uses its changes within seconds
    #[arg(long, env = "CONFIG_FILE", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A directory for the driver's own mounts; it must not be on the same mount as the kubelet directory
    #[arg(long, env = "STATE_DIR", default_value = "/run/nfs-subdir-csi", value_name = "DIR")]
    pub state_dir: PathBuf,

    /// How long an export stays mounted after its last use
    #[arg(long, env = "EXPORT_LINGER", default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    pub export_linger: Duration,

    /// The time after which a call that still works is answered "ask again"; it must be less than the timeout of the sidecars
    #[arg(long, env = "CALL_TIMEOUT", default_value = "90", value_name = "SECONDS", value_parser = call_timeout)]
    pub call_timeout: Duration,

    /// How long another process that works on a share may give no sign of life until what it has begun is removed
    #[arg(
        long,
        env = "ABANDONED_AFTER",
        default_value = "60",
        value_name = "SECONDS",
        value_parser = seconds_above_zero
    )]
    pub abandoned_after: Duration,

    /// Where metrics are served over HTTP, at the path /metrics; without this flag they are not. Whoever can reach the address can read them
    #[arg(long, env = "METRICS_ADDRESS", value_name = "ADDRESS:PORT", value_parser = metrics_address)]
    pub metrics_address: Option<SocketAddr>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub log: LogArgs,
}

/// The arguments of the node service.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,

    /// The name of this node in the cluster
    #[arg(long, env = "NODE_ID", value_parser = node_id)]
    pub node_id: String,

    /// kubelet's directory (its --root-dir)
    #[arg(long, env = "KUBELET_DIR", default_value = "/var/lib/kubelet", value_name = "DIR")]
    pub kubelet_dir: PathBuf,

    /// Tell kubelet about the driver, by a socket in its directory plugins_registry; then --endpoint must be a path that
    /// kubelet can use. Without this flag, a node-driver-registrar must do it
    #[arg(long, env = "REGISTER")]
    pub register: bool,
}

/// Checks the name of a driver (CSI specification, GetPluginInfoResponse): at most 63 bytes, which are letters, digits,
/// dashes and dots, with a letter or digit at the beginning and at the end.
fn driver_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric();
    let fits = (1..=63).contains(&text.len())
        && text.chars().all(|c| plain(c) || matches!(c, '-' | '.'))
        && text.starts_with(plain)
        && text.ends_with(plain);
    let rule = "a CSI driver name has at most 63 letters, digits, dashes and dots, and begins and ends with a letter or \
                digit";
    if fits { Ok(text.to_owned()) } else { Err(rule.to_owned()) }
}

/// Checks the name of a node (CSI specification, NodeGetInfoResponse): at most 256 bytes, and not empty.
fn node_id(text: &str) -> Result<String, String> {
    if (1..=256).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err("a node id has between 1 and 256 bytes".to_owned())
}

/// Reads an address and a port. An IPv6 address may stand without brackets, because a pod gets its own address in this form.
fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    let with_plain_address = || {
        let (address, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
    };
    let rule = "an IP address and a port, such as 10.0.0.7:9810 or [fd00::7]:9810";
    text.parse().ok().or_else(with_plain_address).ok_or_else(|| rule.to_owned())
}

/// The sidecars wait 120 s for an answer (deploy/base). A call is answered before that.
fn call_timeout(text: &str) -> Result<Duration, String> {
    let time = seconds_above_zero(text)?;
    if time > LONGEST_CALL {
        return Err(format!(
            "at most {}, because the sidecars wait 120 s for an answer",
            LONGEST_CALL.as_secs()
        ));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_every_flag_of_a_service_has_a_variable() {
        Cli::command().debug_assert();
        for command in Cli::command()
            .get_subcommands()
            .filter(|command| matches!(command.get_name(), "controller" | "node"))
        {
            for flag in
                command.get_arguments().filter(|flag| !matches!(flag.get_id().as_str(), "help" | "version"))
            {
                assert!(flag.get_env().is_some(), "{}", flag.get_id());
            }
        }
    }

    #[test]
    fn a_call_is_answered_before_the_sidecars_give_up() {
        assert_eq!(call_timeout("110"), Ok(LONGEST_CALL));
        for text in ["0", "111", "120", "x"] {
            assert!(call_timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_for_metrics_has_a_port_and_needs_no_brackets() {
        for (text, address) in [
            ("10.0.0.7:9810", "10.0.0.7:9810"),
            ("[fd00::7]:9810", "[fd00::7]:9810"),
            ("fd00::7:9810", "[fd00::7]:9810"),
        ] {
            assert_eq!(metrics_address(text).unwrap().to_string(), address);
        }
        for text in ["", "9810", ":9810", "10.0.0.7", "nas:9810", "10.0.0.7:http"] {
            assert!(metrics_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn driver_names_are_checked_as_csi_has_them() {
        for name in ["nfs-subdir.csi.dev", "nfs.csi.k8s.io", "k8s-sigs.io", "a", "cluster.local"] {
            assert!(driver_name(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a.", "a/b", "a_b", &"a".repeat(64)] {
            assert!(driver_name(name).is_err(), "{name}");
        }
    }
}
