//! The driver's configuration: exports with names, and what is allowed. `config_file` reads and checks the file that it
//! comes from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::linux::NfsSource;
use crate::linux::copy::DeviceNodes;
use crate::linux::nfs_options::{self, BindFlags, NfsOptions};

use crate::volume::error::{Error, Result};
use crate::volume::name::export::{Export, ExportRef};
use crate::volume::name::reach::Reach;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::on_delete::OnDelete;
use crate::volume::policy::reloads::Reloads;
use crate::volume::policy::server_pattern::{InlineServers, ServerPattern};

/// The configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The exports that have a name.
    pub exports: BTreeMap<String, NamedExport>,
    /// What is logged; `None` for what the command line says.
    pub log_level: Option<String>,
    /// The name of this installation of the driver, which the records of its volumes get.
    pub installation: Option<String>,
    /// The export for a StorageClass that names none.
    pub default_export: Option<String>,
    /// The servers that a StorageClass or a PersistentVolume can name without a name in this configuration.
    pub inline_servers: InlineServers,
    /// The policy for exports that are named by server and share.
    pub inline_policy: ExportPolicy,
    /// Mount options for exports that are named by server and share. The first rule that matches the server is used.
    pub inline_options: Vec<(Vec<ServerPattern>, PrivateOptions)>,
    /// The shares that a PersistentVolume without `subDir` may publish as a whole. No volumes are created on them, because a pod would see these
    /// volumes and the state directory.
    pub whole_shares: Vec<NfsSource>,
    /// The policy for volumes whose StorageClass or handle names none.
    pub on_delete: OnDelete,
    /// Whether a pod can define an ephemeral volume.
    pub ephemeral_volumes: bool,
    /// How many calls can wait for one export at the same time; `None` for the default.
    pub calls_per_export: Option<usize>,
    /// How many copy jobs can run at the same time; `None` for the default.
    pub copies_at_once: Option<usize>,
    /// How long a copy may take; `None` for no limit.
    pub copy_time: Option<Duration>,
    /// Whether a volume that cannot be given to the group of a pod is published.
    pub fs_group: FsGroup,
    /// What happens to device nodes in a tree that is copied.
    pub device_nodes: DeviceNodes,
    /// How many volumes of each export have metrics of their own.
    pub measured_volumes: usize,
}

/// An export of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedExport {
    /// Its servers. The first one that answers is used.
    pub sources: Vec<NfsSource>,
    /// Mount options. Those of a StorageClass come after them. They can contain secrets.
    pub mount_options: PrivateOptions,
    /// The policy for its volumes.
    pub policy: ExportPolicy,
}

impl NamedExport {
    /// The names of mount options that have no effect, each with the one that replaces it. Such a list is a mistake.
    pub fn contradictions(&self) -> Result<Vec<(String, String)>> {
        let name = |option: String| option.split('=').next().unwrap_or_default().to_owned();
        let found = nfs_options::contradictions(&self.mount_options.0)?;
        Ok(found.into_iter().map(|(earlier, later)| (name(earlier), name(later))).collect())
    }
}

/// Mount options that must not appear in a log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PrivateOptions(pub Vec<String>);

impl std::fmt::Debug for PrivateOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} options", self.0.len())
    }
}

/// What happens if the server does not let the driver give a volume to the group of a pod (fsGroup).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsGroup {
    /// The volume is published nevertheless, as kubelet does it, and the log says so.
    #[default]
    Try,
    /// The publish fails.
    Require,
}

/// The administrator's policy for an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportPolicy {
    /// How long deleted volumes are kept.
    pub trash_retention: Duration,
    /// The meaning of a volume's capacity.
    pub capacity: CapacityPolicy,
    /// Whether volumes are limited to their sizes by a quota agent on the server.
    pub quota: QuotaPolicy,
    /// The most entries of deleted volumes that are removed in a second; `None` for no limit.
    pub removals_per_second: Option<u32>,
}

/// The meaning of a volume's capacity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapacityPolicy {
    /// A new volume cannot be larger than the present free space. All volumes together can be larger.
    #[default]
    Thin,
    /// In addition, all volumes together cannot be larger than the file system.
    Reserve,
    /// The capacity is only recorded.
    Ignore,
}

/// Whether volumes are limited to their sizes by a quota agent on the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuotaPolicy {
    /// Nobody expects limits.
    #[default]
    None,
    /// A new volume waits a moment for its limit, and is used without one if there is none.
    Preferred,
    /// A volume is ready when its limit is in force.
    Required,
}

/// An export with everything that is needed to mount it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedExport {
    /// How the caller named it.
    pub id: ExportRef,
    /// Its servers. The first one that answers is used.
    pub sources: Vec<NfsSource>,
    /// The policy for its volumes.
    pub policy: ExportPolicy,
    mount_options: PrivateOptions,
}

impl ResolvedExport {
    /// An export that is mounted according to the kernel, whatever the present settings say.
    #[must_use]
    pub fn mounted(export: Export) -> Self {
        Self {
            sources: vec![export.source().clone()],
            id: ExportRef::Inline(export),
            policy: ExportPolicy::default(),
            mount_options: PrivateOptions::default(),
        }
    }

    /// Where the export is, however it is named: its first server and share. Upper and lower case make no difference in the name of a
    /// server.
    #[must_use]
    pub fn place(&self) -> Option<NfsSource> {
        let NfsSource { server, share } = self.sources.first()?;
        Some(NfsSource { server: server.to_ascii_lowercase(), share: share.clone() })
    }

    /// The sources for mounting the directory of a volume itself: the same servers, with the directory as the share.
    #[must_use]
    pub fn below(&self, sub_dir: &SubDir) -> Vec<NfsSource> {
        let share = |source: &NfsSource| format!("{}/{sub_dir}", source.share.trim_end_matches('/'));
        self.sources
            .iter()
            .map(|source| NfsSource { server: source.server.clone(), share: share(source) })
            .collect()
    }

    /// The name of this export in the handles of volumes whose StorageClass has these mount options. It includes the options that are needed to
    /// reach the server, unless the configuration has them, because most calls have only a handle.
    ///
    /// For a named export, the configuration says how to reach the server. Fails if the class says something else.
    pub fn id_for(&self, mount_flags: &[String]) -> Result<ExportRef> {
        let reach = |more: &[String]| self.options(more).map(|(options, _)| Reach::of(&options));
        let (configured, wanted) = (reach(&[])?, reach(mount_flags)?);
        match &self.id {
            ExportRef::Named(name) if !wanted.is_same_server(&configured) => Err(Error::invalid(
                "mountOptions",
                format!(
                    "`{wanted}` would reach another server than the configuration of export `{name}`, and calls that carry only a \
                     handle would not find the volume: write port and transport into the export's mountOptions"
                ),
            )),
            ExportRef::Inline(export) if wanted != configured => {
                let own = nfs_options::parse(mount_flags)?.0;
                Ok(ExportRef::Inline(export.clone().reached_with(Reach::of(&own))))
            }
            id => Ok(id.clone()),
        }
    }

    /// The configured options, followed by `more`. Of options that contradict each other, the last one counts.
    pub fn options<S: AsRef<str>>(&self, more: &[S]) -> Result<(NfsOptions, BindFlags)> {
        let configured = self.mount_options.0.iter().map(String::as_str);
        let all: Vec<&str> = configured.chain(more.iter().map(AsRef::as_ref)).collect();
        Ok(nfs_options::parse(&all)?)
    }
}

impl Settings {
    /// The longest retention and the slowest pace of all exports. It is used for deleted directories whose names do not say how long they are
    /// kept, because one share can have several names.
    #[must_use]
    pub fn strictest_policy(&self) -> ExportPolicy {
        let policies = || self.exports.values().map(|export| export.policy).chain([self.inline_policy]);
        ExportPolicy {
            trash_retention: policies().map(|policy| policy.trash_retention).max().unwrap_or_default(),
            removals_per_second: policies().filter_map(|policy| policy.removals_per_second).min(),
            ..ExportPolicy::default()
        }
    }

    /// Finds out where an export is and what its policy is.
    pub fn resolve(&self, id: &ExportRef) -> Result<ResolvedExport> {
        match id {
            ExportRef::Named(name) => {
                let export = self.exports.get(name).ok_or_else(|| {
                    let known = self.exports.keys().cloned().collect::<Vec<_>>().join(", ");
                    Error::Precondition(format!(
                        "export `{name}` is not in the driver's configuration (it has: {known})"
                    ))
                })?;
                Ok(ResolvedExport {
                    id: id.clone(),
                    sources: export.sources.clone(),
                    mount_options: export.mount_options.clone(),
                    policy: export.policy,
                })
            }
            ExportRef::Inline(export) => {
                if !self.allows(export.server()) {
                    return Err(Error::Precondition(format!(
                        "server {} cannot be used: it is not among inline.servers in the driver's configuration",
                        export.server()
                    )));
                }
                Ok(ResolvedExport {
                    id: id.clone(),
                    sources: vec![export.source().clone()],
                    mount_options: self.options_of_inline(export),
                    policy: self.inline_policy,
                })
            }
        }
    }

    /// Whether the administrator has listed this share as one that can be published as a whole. Upper and lower case make no difference in the
    /// name of a server.
    #[must_use]
    pub fn is_whole_share(&self, export: &ResolvedExport) -> bool {
        let is_same =
            |a: &NfsSource, b: &NfsSource| a.server.eq_ignore_ascii_case(&b.server) && a.share == b.share;
        self.whole_shares.iter().any(|listed| export.sources.iter().any(|source| is_same(source, listed)))
    }

    /// The options of the first rule that matches, followed by those in the name of the export, which belong to its volume.
    fn options_of_inline(&self, export: &Export) -> PrivateOptions {
        let fits = |(servers, _): &&(Vec<ServerPattern>, _)| {
            servers.iter().any(|pattern| pattern.fits(export.server()))
        };
        let mut options =
            self.inline_options.iter().find(fits).map_or_else(Vec::new, |(_, options)| options.0.clone());
        options.extend((!export.reach().is_empty()).then(|| export.reach().to_string()));
        PrivateOptions(options)
    }

    /// The export for a StorageClass that names none.
    #[must_use]
    pub fn default_export(&self) -> Option<ExportRef> {
        self.default_export.clone().map(ExportRef::Named)
    }

    /// The export of the configuration that is at this server and share, which may be one of several servers.
    #[must_use]
    pub fn named(&self, export: &Export) -> Option<ExportRef> {
        let is_same = |source: &NfsSource| {
            source.server.eq_ignore_ascii_case(export.server()) && source.share == export.share()
        };
        let found = self.exports.iter().find(|(_, named)| named.sources.iter().any(is_same));
        found.map(|(name, _)| ExportRef::Named(name.clone()))
    }

    /// Whether a StorageClass or a PersistentVolume can name this server.
    #[must_use]
    pub fn allows(&self, server: &str) -> bool {
        match &self.inline_servers {
            InlineServers::Any => true,
            InlineServers::Listed(patterns) => patterns.iter().any(|pattern| pattern.fits(server)),
        }
    }
}

/// The settings in use. They can change while the driver runs.
#[derive(Debug, Default)]
pub struct LiveSettings {
    current: RwLock<Arc<Settings>>,
    /// How they were read.
    pub reloads: Reloads,
}

impl LiveSettings {
    /// Starts with these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { current: RwLock::new(Arc::new(settings)), reloads: Reloads::default() }
    }

    /// The present settings. A call asks for them once and uses them until its end.
    #[must_use]
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read())
    }

    /// Replaces the settings.
    pub fn set(&self, settings: Settings) {
        *self.current.write() = Arc::new(settings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_options_come_first_and_stay_out_of_debug_output() {
        let mut settings = Settings::default();
        let source = NfsSource { server: "nas".to_owned(), share: "/srv".to_owned() };
        let export = NamedExport {
            sources: vec![source],
            mount_options: PrivateOptions(vec!["timeo=100,context=hunter2".to_owned()]),
            policy: ExportPolicy::default(),
        };
        settings.exports.insert("fast".to_owned(), export);
        let resolved = settings.resolve(&ExportRef::named("fast").unwrap()).unwrap();
        let (options, _) = resolved.options(&["timeo=300"]).unwrap();
        assert_eq!(options.get("timeo"), Some("300"));
        assert_eq!(options.get("context"), Some("hunter2"));
        let printed = format!("{resolved:?} {options:?} {settings:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        let error = settings.resolve(&ExportRef::named("slow").unwrap()).unwrap_err().to_string();
        assert!(error.contains("it has: fast"), "{error}");
    }
}
