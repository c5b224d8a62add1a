//! The process that examines one export. Each look is announced with its limit before it begins.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::line::{Line, begin, report};
use super::scratch::Scratch;
use super::{features, latency, network, storage, users};
use crate::config::doctor::DoctorArgs;
use crate::linux::mount::SysMounter;
use crate::linux::{Mounter, NfsOptions, namespace};
use crate::operate::settings::settings_of;
use crate::telemetry::chain;
use crate::volume::name::export::ExportRef;
use crate::volume::policy::settings::{ResolvedExport, Settings};

/// The longest time that the driver may need to mount an export: 10 s for the name, 5 s until a server answers, 10 s of questions
/// with NFS 3, and 30 s of mount(2).
const MOUNT: Duration = Duration::from_mins(1);

/// Examines the one export of the arguments; `regardless` also if the configuration does not allow its server.
pub(super) fn examine(args: &DoctorArgs, regardless: bool) -> anyhow::Result<()> {
    let settings = settings_of(&args.on)?;
    let text = args.on.exports.first().context("no export is named")?;
    let Some((export, options)) = resolve(args, &settings, text, regardless)? else { return Ok(()) };
    report(network::options(&options));
    namespace::enter(&args.on.state_dir, None).context("create a mount namespace")?;
    crate::linux::clear_umask();
    if !network::examine(&export.sources, &options) {
        return Ok(());
    }
    begin("mount", MOUNT);
    let mounter = SysMounter::new(args.on.state_dir.canonicalize()?);
    let begun = Instant::now();
    let root = match mounter.mount_export(&export.sources, &options) {
        Ok(root) => root,
        Err(error) => {
            let advice = "correct what the message names; `exportfs -v` on the server shows what it exports, and to whom";
            report(Line::fail("mount", error.to_string(), advice));
            return Ok(());
        }
    };
    let took = begun.elapsed().as_millis();
    report(Line::ok("mount", format!("mounted with NFS {} in {took} ms", root.version)));
    storage::look(&root.dir);
    if let Some(scratch) = Scratch::make(&root.dir) {
        storage::write(&scratch);
        users::examine(&scratch);
        features::examine(&scratch, &root, &options);
        latency::examine(&scratch);
        scratch.remove();
    }
    begin("unmount", Duration::from_secs(15));
    mounter.release_export(&root)?;
    Ok(())
}

/// Where the export is, and the options that it is mounted with. Says why if the configuration does not have or allow it.
fn resolve(
    args: &DoctorArgs,
    settings: &Settings,
    text: &str,
    regardless: bool,
) -> anyhow::Result<Option<(ResolvedExport, NfsOptions)>> {
    const CHECK: &str = "configuration";
    let id = ExportRef::parse(text)?;
    let export = match settings.resolve(&id) {
        Ok(export) => {
            report(Line::ok(CHECK, "the driver may use this export"));
            export
        }
        Err(error) if regardless => {
            let advice = "name the export in the configuration, or add its server to inline.servers";
            report(Line::warn(CHECK, error.to_string(), advice));
            Settings::default().resolve(&id)?
        }
        Err(error) => {
            report(Line::fail(CHECK, error.to_string(), "see docs/PARAMETERS.md, the configuration file"));
            return Ok(None);
        }
    };
    match export.options(&args.mount_options) {
        Ok((options, _)) => Ok(Some((export, options))),
        Err(error) => {
            let error = anyhow::Error::from(error);
            report(Line::fail("mount-options", chain(&error), "see docs/PARAMETERS.md, mount options"));
            Ok(None)
        }
    }
}
