//! The configuration file: its form, its checks, and how the driver notices its changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::linux::copy::DeviceNodes;
use crate::linux::nfs_options;
use crate::telemetry;
use crate::volume::name::export::{Export, ExportRef};
use crate::volume::on_delete::OnDelete;
use crate::volume::policy::server_pattern::{InlineServers, ServerPattern};
use crate::volume::policy::settings::{
    CapacityPolicy, ExportPolicy, FsGroup, LiveSettings, NamedExport, PrivateOptions, QuotaPolicy, Settings,
};

/// How often the file is read. Kubernetes changes a mounted ConfigMap by replacing a symbolic link, which a watch on the file
/// does not notice.
const ROUND: Duration = Duration::from_secs(2);

/// The most calls that can wait for one export. Each of them keeps a thread, and the number of threads is limited.
const MOST_CALLS: usize = 256;

/// The most volumes of one export that can have metrics of their own. Each takes some hundred bytes of memory, and a kilobyte of each scrape.
const MOST_MEASURED: usize = 10_000;

/// The file as it is written. Every key is optional, and other keys are not allowed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct File {
    exports: Vec<FileExport>,
    default_export: Option<String>,
    installation: Option<String>,
    log_level: Option<String>,
    on_delete: OnDelete,
    inline: FileInline,
    whole_shares: Vec<String>,
    ephemeral_volumes: bool,
    fs_group: FsGroup,
    device_nodes: DeviceNodes,
    limits: FileLimits,
    metrics: FileMetrics,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileExport {
    name: String,
    server: Option<String>,
    #[serde(default)]
    servers: Vec<String>,
    share: String,
    #[serde(default)]
    mount_options: Vec<String>,
    mount_options_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "duration")]
    trash_retention: Duration,
    #[serde(default)]
    capacity_policy: CapacityPolicy,
    #[serde(default)]
    quota: QuotaPolicy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct FileInline {
    /// `None` stands for every server.
    servers: Option<Vec<String>>,
    mount_options: Vec<FileInlineOptions>,
    #[serde(deserialize_with = "duration")]
    trash_retention: Duration,
    capacity_policy: CapacityPolicy,
    quota: QuotaPolicy,
}

/// Mount options for some of the servers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileInlineOptions {
    servers: Vec<String>,
    options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct FileLimits {
    calls_per_export: Option<usize>,
    copies_at_once: Option<usize>,
    #[serde(deserialize_with = "some_duration")]
    copy_time: Option<Duration>,
    removals_per_second: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct FileMetrics {
    volumes_per_export: usize,
}

fn some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
        .map_err(|e| D::Error::custom(format!("{text:?} is not a duration such as 24h: {e}")))
}

/// Reads and checks the file. The error names the line of a mistake.
pub fn load(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Settings> {
    let file: File = if text.trim().is_empty() { File::default() } else { serde_saphyr::from_str(text)? };
    let mut exports = BTreeMap::new();
    for export in file.exports {
        let name = export.name.clone();
        let checked = check_export(export, &file.limits).with_context(|| format!("export `{name}`"))?;
        if exports.insert(name.clone(), checked).is_some() {
            bail!("there are two exports with the name `{name}`");
        }
    }
    if let Some(name) = &file.default_export
        && !exports.contains_key(name)
    {
        bail!("defaultExport: there is no export `{name}`");
    }
    if let Some(level) = &file.log_level {
        telemetry::parse(level).context("logLevel")?;
    }
    if file.installation.as_ref().is_some_and(|name| !(1..=63).contains(&name.len())) {
        bail!("installation: a name has between 1 and 63 bytes");
    }
    let FileLimits { calls_per_export, copies_at_once, copy_time, removals_per_second } = file.limits;
    if calls_per_export == Some(0)
        || copies_at_once == Some(0)
        || copy_time == Some(Duration::ZERO)
        || removals_per_second == Some(0)
    {
        bail!("limits: with 0 the driver could do nothing; to have no limit, leave the key out");
    }
    if let Some(calls) = calls_per_export.filter(|calls| *calls > MOST_CALLS) {
        bail!("limits: callsPerExport is {calls}, and at most {MOST_CALLS} calls can wait for one export");
    }
    let measured_volumes = file.metrics.volumes_per_export;
    if measured_volumes > MOST_MEASURED {
        bail!(
            "metrics: volumesPerExport is {measured_volumes}, and at most {MOST_MEASURED} volumes can have metrics of their own"
        );
    }
    let inline_servers = match file.inline.servers {
        None => InlineServers::Any,
        Some(patterns) if patterns.iter().any(|pattern| pattern == "*") => InlineServers::Any,
        Some(patterns) => {
            InlineServers::Listed(patterns.iter().map(|text| ServerPattern::parse(text)).collect())
        }
    };
    let rule = |rule: FileInlineOptions| {
        let what = || format!("inline.mountOptions for {}", rule.servers.join(", "));
        nfs_options::parse(&rule.options).with_context(what)?;
        let servers = rule.servers.iter().map(|text| ServerPattern::parse(text)).collect();
        Ok((servers, PrivateOptions(rule.options)))
    };
    let inline_options =
        file.inline.mount_options.into_iter().map(rule).collect::<anyhow::Result<Vec<_>>>()?;
    let mut settings = Settings {
        exports,
        default_export: file.default_export,
        installation: file.installation,
        log_level: file.log_level,
        inline_servers,
        inline_policy: ExportPolicy {
            trash_retention: file.inline.trash_retention,
            capacity: file.inline.capacity_policy,
            quota: file.inline.quota,
            removals_per_second,
        },
        on_delete: file.on_delete,
        ephemeral_volumes: file.ephemeral_volumes,
        calls_per_export,
        copies_at_once,
        copy_time,
        device_nodes: file.device_nodes,
        fs_group: file.fs_group,
        measured_volumes,
        whole_shares: Vec::new(),
        inline_options,
    };
    let sources = |text: &String| -> anyhow::Result<_> {
        let export = ExportRef::parse(text).and_then(|id| settings.resolve(&id));
        Ok(export.with_context(|| format!("wholeShares: {text:?}"))?.sources)
    };
    let whole_shares = file.whole_shares.iter().map(sources).collect::<anyhow::Result<Vec<_>>>()?;
    settings.whole_shares = whole_shares.concat();
    Ok(settings)
}

fn check_export(file: FileExport, limits: &FileLimits) -> anyhow::Result<NamedExport> {
    ExportRef::named(&file.name)?;
    let servers: Vec<String> = file.server.into_iter().chain(file.servers).collect();
    if servers.is_empty() {
        bail!("it has neither `server` nor `servers`");
    }
    let source = |server: &String| Export::new(server, &file.share).map(|export| export.source().clone());
    let sources = servers.iter().map(source).collect::<Result<_, _>>()?;
    let mut mount_options = file.mount_options;
    if let Some(path) = &file.mount_options_file {
        let options = std::fs::read_to_string(path)
            .with_context(|| format!("read mountOptionsFile {}", path.display()))?;
        mount_options.push(options.trim().to_owned());
    }
    nfs_options::parse(&mount_options)?;
    let policy = ExportPolicy {
        trash_retention: file.trash_retention,
        capacity: file.capacity_policy,
        quota: file.quota,
        removals_per_second: limits.removals_per_second,
    };
    Ok(NamedExport { sources, mount_options: PrivateOptions(mount_options), policy })
}

/// Uses every later version of the file, for as long as the process lives. If a version cannot be used, the last good one
/// stays in force, and the log says so once. `changed` is called with each new version before it is in force.
pub fn watch(path: PathBuf, live: Arc<LiveSettings>, changed: impl Fn(&Settings) + Send + 'static) {
    let run = move || {
        let mut complaint = String::new();
        loop {
            std::thread::sleep(ROUND);
            match load(&path) {
                Ok(settings) => {
                    complaint.clear();
                    let is_new = settings != *live.get();
                    if is_new {
                        let exports = settings.exports.len();
                        changed(&settings);
                        live.set(settings);
                        // Who reads this line may rely on the new version.
                        tracing::info!(path = %path.display(), exports, "configuration taken up");
                    }
                    live.reloads.succeed(is_new);
                }
                Err(error) => {
                    let text = format!("{error:#}");
                    live.reloads.fail(text != complaint);
                    if text != complaint {
                        tracing::error!(
                            error = text,
                            "the configuration cannot be used; the last good one stays in force"
                        );
                        complaint = text;
                    }
                }
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("config".to_owned()).spawn(run) {
        tracing::error!(%error, "the driver will not notice changes of the configuration");
    }
}

#[cfg(test)]
mod tests;
