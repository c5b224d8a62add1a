//! `nfs-subdir-csi import`: volumes that the nfs-client provisioner or csi-driver-nfs has created become volumes of this
//! driver. A record is written for each volume. The directories are not changed.
//!
//! [`pvs`] reads the file, [`place`] finds each directory on the share, [`directories`] knows the owner of each, [`plan`]
//! decides, and [`table`] and [`manifest`] report the result.

mod directories;
mod manifest;
mod place;
mod plan;
mod pvs;
mod rules;
mod table;

use std::path::Path;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::ImportArgs;
use crate::linux::mount::SysMounter;
use crate::linux::{Dir, Mounter, namespace, nfs_options};
use crate::volume::name::export::{Export, ExportRef};
use crate::volume::name::reach::Reach;
use crate::volume::share::claims::Added;
use crate::volume::share::state_dir::StateDir;
use plan::Plan;
use rules::{Decision, Rules};

/// The most directories without a PersistentVolume that the report names.
const ORPHANS_NAMED: usize = 50;

/// Runs the command. The error is for the person at the terminal. If there are conflicts, the command also fails, after it
/// has shown the table.
pub fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let json = std::fs::read(&args.pvs).with_context(|| format!("read {}", args.pvs.display()))?;
    let volumes = pvs::parse(&json).with_context(|| args.pvs.display().to_string())?;
    let export = Export::new(&args.server, &args.share)?;
    let rules = Rules {
        id: if let Some(name) = &args.export {
            ExportRef::named(name)?
        } else {
            // The new handles have to lead to the server too.
            let (options, _) = nfs_options::parse(&args.mount_options)?;
            ExportRef::Inline(export.clone().reached_with(Reach::of(&options)))
        },
        export,
        from_driver: args.from_driver.clone(),
        on_delete: args.on_delete,
    };
    with_share(args, &rules, |share| {
        let bar = bar(volumes.len(), "volumes examined")?;
        let mut plan = Plan::make(share, &rules, bar.wrap_iter(volumes.into_iter()))?;
        bar.finish_and_clear();
        if args.yes {
            write_records(share, &mut plan)?;
        }
        report(share, &plan, args)
    })
}

/// Calls `work` with the share: the directory that is given, or else the export, which is mounted for this.
fn with_share(
    args: &ImportArgs,
    rules: &Rules,
    work: impl FnOnce(&Dir) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if let Some(directory) = &args.directory {
        return work(&Dir::open(directory)?.with_label(rules.export.to_string()));
    }
    namespace::enter(&args.state_dir, None).context("create a mount namespace")?;
    crate::linux::clear_umask();
    let mounter = SysMounter::new(args.state_dir.canonicalize()?);
    let (options, _) = nfs_options::parse(&args.mount_options)?;
    let root = mounter.mount_export(std::slice::from_ref(rules.export.source()), &options)?;
    let result = work(&root.dir);
    mounter.release_export(&root)?;
    result
}

/// Writes the records of the plan. If a record cannot be written, this is a conflict, and the others are still written.
fn write_records(share: &Dir, plan: &mut Plan) -> anyhow::Result<()> {
    let count = plan.count(|decision| *decision == Decision::Import);
    if count == 0 {
        return Ok(());
    }
    let state = StateDir::create(share)?;
    state.complete_claims()?;
    let bar = bar(count, "records written")?;
    for row in &mut plan.rows {
        if let (Decision::Import, Some(candidate)) = (&row.decision, &row.candidate) {
            row.decision = match state.add(&candidate.key, &candidate.record) {
                Ok(Added::Made(held)) => match state.keep(&held) {
                    Ok(()) => Decision::Imported,
                    Err(error) => Decision::Conflict(error.to_string()),
                },
                Ok(Added::Exists) => {
                    Decision::Conflict("another process has written a record meanwhile".to_owned())
                }
                Ok(Added::Overlaps(owner)) => Decision::Conflict(owner),
                Err(error) => Decision::Conflict(error.to_string()),
            };
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(state.close()?)
}

/// A progress bar on standard error, if that is a terminal.
fn bar(count: usize, what: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {eta} left")?;
    Ok(ProgressBar::new(count as u64).with_style(style).with_message(what.to_owned()))
}

/// Without a file for the manifests, they go to standard output, and everything else goes to standard error.
fn report(share: &Dir, plan: &Plan, args: &ImportArgs) -> anyhow::Result<()> {
    let mut text = table::render(plan);
    let orphans = plan.orphans(share);
    if !orphans.is_empty() {
        text.push_str("\nDirectories without a PersistentVolume, left alone:\n");
        let more = orphans.len().saturating_sub(ORPHANS_NAMED);
        let named = orphans.into_iter().take(ORPHANS_NAMED);
        text.extend(
            named.chain((more > 0).then(|| format!("and {more} more"))).map(|line| format!("  {line}\n")),
        );
    }
    let manifests = manifest::list(plan, &args.driver_name)?;
    if let Some(path) = &args.manifests {
        print!("{text}");
        write_manifests(path, &manifests)?;
    } else {
        eprint!("{text}");
        println!("{manifests}");
    }
    let conflicts = plan.count(|decision| matches!(decision, Decision::Conflict(_)));
    let there =
        plan.count(|decision| matches!(decision, Decision::AlreadyImported | Decision::KnownByOldHandle));
    let others = plan.count(|decision| matches!(decision, Decision::NotOurs(_)));
    let rest = format!("{there} already imported, {others} left alone, {conflicts} in conflict");
    if args.yes {
        eprintln!("\n{} imported, {rest}", plan.count(|decision| *decision == Decision::Imported));
    } else {
        let import = plan.count(|decision| *decision == Decision::Import);
        eprintln!("\n{import} would be imported, {rest}; no record was written (use --yes to write them)");
    }
    if conflicts > 0 {
        bail!("some volumes cannot be imported: see CONFLICT in the table");
    }
    Ok(())
}

fn write_manifests(path: &Path, manifests: &str) -> anyhow::Result<()> {
    std::fs::write(path, manifests).with_context(|| format!("write {}", path.display()))?;
    eprintln!("\n{}: contains the new PersistentVolumes", path.display());
    Ok(())
}
