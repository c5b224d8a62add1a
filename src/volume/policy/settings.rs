//! What the administrator has configured: named exports, and what is allowed. The file it comes from is
//! `config_file`'s business; here it has been checked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;

use crate::linux::NfsSource;
use crate::linux::copy::DeviceNodes;
use crate::linux::nfs_options::{self, BindFlags, NfsOptions};

use crate::volume::error::{Error, Result};
use crate::volume::name::export::{Export, ExportRef};
use crate::volume::name::sub_dir::SubDir;
use crate::volume::on_delete::OnDelete;

/// The configuration in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Exports by name.
    pub exports: BTreeMap<String, NamedExport>,
    /// The export of a StorageClass that names none.
    pub default_export: Option<String>,
    /// Which servers a StorageClass or a PersistentVolume may name by itself.
    pub inline_servers: InlineServers,
    /// Policy of exports that are named inline.
    pub inline_policy: ExportPolicy,
    /// Policy of volumes whose StorageClass or handle has none.
    pub on_delete: OnDelete,
    /// Whether pods may have ephemeral volumes of their own.
    pub ephemeral_volumes: bool,
    /// Calls that may wait for one export at once; `None` for the default.
    pub calls_per_export: Option<usize>,
    /// CopyJobs that may run at once; `None` for the default.
    pub copies_at_once: Option<usize>,
    /// What becomes of device nodes in a tree that is copied.
    pub device_nodes: DeviceNodes,
}

/// One export of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedExport {
    /// Where it is: the first server that answers is used.
    pub sources: Vec<NfsSource>,
    /// Mount options that come before a StorageClass's own. They may hold secrets.
    pub mount_options: PrivateOptions,
    /// What is promised for it.
    pub policy: ExportPolicy,
}

/// Mount options that no log may show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PrivateOptions(pub Vec<String>);

impl std::fmt::Debug for PrivateOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} options", self.0.len())
    }
}

/// What an export's administrator wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportPolicy {
    /// For how long deleted volumes stay in the trash.
    pub trash_retention: Duration,
    /// What a volume's capacity means.
    pub capacity: CapacityPolicy,
    /// Entries of deleted volumes that are removed in a second; `None` for as many as it takes.
    pub removals_per_second: Option<u32>,
}

/// What a volume's capacity means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapacityPolicy {
    /// A volume may not be larger than what is free now; several together may be.
    #[default]
    Thin,
    /// All volumes together may not be larger than the file system.
    Reserve,
    /// It is recorded and nothing more.
    Ignore,
}

/// Servers that may be named without being configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum InlineServers {
    /// Every server.
    #[default]
    Any,
    /// Those that one of the patterns fits; with no pattern none.
    Listed(Vec<ServerPattern>),
}

/// A rule for servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerPattern {
    /// Exactly this name or address.
    Exact(String),
    /// Every name below this domain: `*.example.com`.
    Domain(String),
    /// Every address in this network. Names are not resolved for it.
    Network(IpNet),
}

impl ServerPattern {
    /// Reads a pattern. What is neither a network nor a domain is a name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Ok(network) = text.parse() {
            return Self::Network(network);
        }
        match text.strip_prefix("*.") {
            Some(domain) => Self::Domain(format!(".{}", domain.to_ascii_lowercase())),
            None => Self::Exact(text.to_ascii_lowercase()),
        }
    }

    fn fits(&self, server: &str) -> bool {
        let server = server.to_ascii_lowercase();
        match self {
            Self::Exact(name) => &server == name,
            Self::Domain(domain) => server.ends_with(domain.as_str()) && server.len() > domain.len(),
            Self::Network(network) => {
                server.parse::<IpAddr>().is_ok_and(|address| network.contains(&address))
            }
        }
    }
}

/// An export as it is to be mounted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedExport {
    /// How it was named.
    pub id: ExportRef,
    /// Where it is: the first server that answers is used.
    pub sources: Vec<NfsSource>,
    /// What is promised for it.
    pub policy: ExportPolicy,
    mount_options: PrivateOptions,
}

impl ResolvedExport {
    /// The export that the kernel says is mounted, whatever the settings say by now.
    #[must_use]
    pub fn mounted(export: Export) -> Self {
        Self {
            sources: vec![export.source().clone()],
            id: ExportRef::Inline(export),
            policy: ExportPolicy::default(),
            mount_options: PrivateOptions::default(),
        }
    }

    /// The export of which a volume's directory is mounted itself: the same servers, the directory as share.
    #[must_use]
    pub fn below(&self, sub_dir: &SubDir) -> Vec<NfsSource> {
        let share = |source: &NfsSource| format!("{}/{sub_dir}", source.share.trim_end_matches('/'));
        self.sources
            .iter()
            .map(|source| NfsSource { server: source.server.clone(), share: share(source) })
            .collect()
    }

    /// The configured options with `more` after them: of contradicting options the last counts.
    pub fn options<S: AsRef<str>>(&self, more: &[S]) -> Result<(NfsOptions, BindFlags)> {
        let configured = self.mount_options.0.iter().map(String::as_str);
        let all: Vec<&str> = configured.chain(more.iter().map(AsRef::as_ref)).collect();
        Ok(nfs_options::parse(&all)?)
    }
}

impl Settings {
    /// Where an export is and what may be done with it.
    pub fn resolve(&self, id: &ExportRef) -> Result<ResolvedExport> {
        match id {
            ExportRef::Named(name) => {
                let export = self.exports.get(name).ok_or_else(|| {
                    let known = self.exports.keys().cloned().collect::<Vec<_>>().join(", ");
                    Error::Precondition(format!(
                        "export `{name}` is not in the driver's configuration (known: {known})"
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
                        "server {} may not be named here: it is not among inline.servers in the driver's configuration",
                        export.server()
                    )));
                }
                Ok(ResolvedExport {
                    id: id.clone(),
                    sources: vec![export.source().clone()],
                    mount_options: PrivateOptions::default(),
                    policy: self.inline_policy,
                })
            }
        }
    }

    /// The export of a StorageClass that names none.
    #[must_use]
    pub fn default_export(&self) -> Option<ExportRef> {
        self.default_export.clone().map(ExportRef::Named)
    }

    /// Whether a StorageClass or a PersistentVolume may name this server by itself.
    #[must_use]
    pub fn allows(&self, server: &str) -> bool {
        match &self.inline_servers {
            InlineServers::Any => true,
            InlineServers::Listed(patterns) => patterns.iter().any(|pattern| pattern.fits(server)),
        }
    }
}

/// The settings in force, which change while the driver runs.
#[derive(Debug, Default)]
pub struct LiveSettings(RwLock<Arc<Settings>>);

impl LiveSettings {
    /// Begins with these.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(RwLock::new(Arc::new(settings)))
    }

    /// The settings now. A call takes them once and works with what it took.
    #[must_use]
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these.
    pub fn set(&self, settings: Settings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(server: &str) -> ExportRef {
        ExportRef::Inline(Export::new(server, "/srv").unwrap())
    }

    #[test]
    fn inline_servers_are_held_against_the_list() {
        let patterns = ["nas.example", "*.lab.example", "10.1.0.0/16", "fd00::/8"].map(ServerPattern::parse);
        let settings =
            Settings { inline_servers: InlineServers::Listed(patterns.to_vec()), ..Settings::default() };
        for server in ["nas.example", "NAS.Example", "a.lab.example", "10.1.2.3", "fd00::1", "[fd00::1]"] {
            assert!(settings.resolve(&inline(server)).is_ok(), "{server}");
        }
        for server in
            ["nas.example.evil", "xnas.example", "lab.example", "10.2.0.1", "10.1.0.1.evil", "fe80::1"]
        {
            assert!(settings.resolve(&inline(server)).is_err(), "{server}");
        }
        let none = Settings { inline_servers: InlineServers::Listed(Vec::new()), ..Settings::default() };
        assert!(none.resolve(&inline("nas.example")).is_err());
        assert!(Settings::default().resolve(&inline("anything")).is_ok());
    }

    #[test]
    fn configured_options_come_first_and_stay_out_of_debug_output() {
        let mut settings = Settings::default();
        let source = NfsSource { server: "nas".to_owned(), share: "/srv".to_owned() };
        let export = NamedExport {
            sources: vec![source],
            mount_options: PrivateOptions(vec!["timeo=100,secret=hunter2".to_owned()]),
            policy: ExportPolicy::default(),
        };
        settings.exports.insert("fast".to_owned(), export);
        let resolved = settings.resolve(&ExportRef::named("fast").unwrap()).unwrap();
        let (options, _) = resolved.options(&["timeo=300"]).unwrap();
        assert_eq!(options.get("timeo"), Some("300"));
        assert_eq!(options.get("secret"), Some("hunter2"));
        let printed = format!("{resolved:?} {options:?} {settings:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        let error = settings.resolve(&ExportRef::named("slow").unwrap()).unwrap_err().to_string();
        assert!(error.contains("known: fast"), "{error}");
    }
}
