//! `nfs-subdir-csi import`: volumes that the nfs-client provisioner or csi-driver-nfs made become volumes of this
//! driver. A record is written for each; their directories are not touched.
//!
//! [`pvs`] reads the file, [`place`] finds each directory below the share, [`plan`] decides, [`directories`] knows
//! whose each is; [`table`] and [`manifest`] say what came of it.

mod directories;
mod manifest;
mod place;
mod plan;
mod printable;
mod pvs;
mod quantity;
mod rules;
mod table;

use std::path::Path;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::ImportArgs;
use crate::linux::mount::SysMounter;
use crate::linux::{Dir, Mounter, namespace, nfs_options};
use crate::volume::name::export::{Export, ExportRef};
use crate::volume::share::state_dir::StateDir;
use plan::Plan;
use rules::{Decision, Rules};

/// Directories without a PersistentVolume that are named in the report, at most.
const ORPHANS_NAMED: usize = 50;

/// Runs the command. The error is for the person at the terminal; conflicts are an error too, after the table.
pub fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let json = std::fs::read(&args.pvs).with_context(|| format!("read {}", args.pvs.display()))?;
    let volumes = pvs::parse(&json).with_context(|| args.pvs.display().to_string())?;
    let export = Export::new(&args.server, &args.share)?;
    let rules = Rules {
        id: match &args.export {
            Some(name) => ExportRef::named(name)?,
            None => ExportRef::Inline(export.clone()),
        },
        export,
        from_driver: args.from_driver.clone(),
        on_delete: args.on_delete.into(),
    };
    with_share(args, &rules, |share| {
        let bar = bar(volumes.len(), "volumes looked at")?;
        let mut plan = Plan::make(share, &rules, bar.wrap_iter(volumes.into_iter()))?;
        bar.finish_and_clear();
        if args.yes {
            write_records(share, &mut plan)?;
        }
        report(share, &plan, args)
    })
}

/// Does `work` with the share: the directory given, or the export mounted for as long as it takes.
fn with_share(
    args: &ImportArgs,
    rules: &Rules,
    work: impl FnOnce(&Dir) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if let Some(directory) = &args.directory {
        return work(&Dir::open(directory)?.with_label(rules.export.to_string()));
    }
    namespace::enter(&args.state_dir, None).context("make a mount namespace")?;
    crate::linux::clear_umask();
    let mounter = SysMounter::new(args.state_dir.canonicalize()?);
    let (options, _) = nfs_options::parse(&args.mount_options)?;
    let root = mounter.mount_export(std::slice::from_ref(rules.export.source()), &options)?;
    let result = work(&root.dir);
    mounter.release_export(&root)?;
    result
}

/// Writes what the plan has to import. A record that cannot be written is a conflict, and the others are written.
fn write_records(share: &Dir, plan: &mut Plan) -> anyhow::Result<()> {
    let count = plan.count(|decision| *decision == Decision::Import);
    if count == 0 {
        return Ok(());
    }
    let state = StateDir::create(share)?;
    let bar = bar(count, "records written")?;
    for row in &mut plan.rows {
        if let (Decision::Import, Some(candidate)) = (&row.decision, &row.candidate) {
            row.decision = match state.add(&candidate.key, &candidate.record) {
                Ok(true) => Decision::Imported,
                Ok(false) => Decision::Conflict("a record has appeared meanwhile".to_owned()),
                Err(error) => Decision::Conflict(error.to_string()),
            };
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A bar on standard error if that is a terminal, and nothing otherwise.
fn bar(count: usize, what: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {eta} left")?;
    Ok(ProgressBar::new(count as u64).with_style(style).with_message(what.to_owned()))
}

/// The manifests go to standard output if no file is given for them, and then nothing else does.
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
    let rest = format!("{there} there already, {others} left alone, {conflicts} in conflict");
    if args.yes {
        eprintln!("\n{} imported, {rest}", plan.count(|decision| *decision == Decision::Imported));
    } else {
        let import = plan.count(|decision| *decision == Decision::Import);
        eprintln!("\n{import} would be imported, {rest}; no record was written (--yes does it)");
    }
    if conflicts > 0 {
        bail!("not every volume can be imported: see CONFLICT in the table");
    }
    Ok(())
}

fn write_manifests(path: &Path, manifests: &str) -> anyhow::Result<()> {
    std::fs::write(path, manifests).with_context(|| format!("write {}", path.display()))?;
    eprintln!("\n{}: the PersistentVolumes that bind them", path.display());
    Ok(())
}
