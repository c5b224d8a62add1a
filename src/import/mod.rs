//! `nfs-subdir-csi import`: volumes that the nfs-client provisioner or csi-driver-nfs made become volumes of this
//! driver. A record is written for each; their directories are not touched.

mod manifest;
mod plan;
mod pvs;
mod quantity;
mod table;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::ImportArgs;
use crate::linux::mount::SysMounter;
use crate::linux::{Dir, Mounter, namespace, nfs_options};
use crate::volume::state_dir::StateDir;
use crate::volume::{Export, ExportRef};
use plan::{Fate, Plan, Rules};

/// Directories at the top of the share that are named in the report, at most.
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
        let mut plan = Plan::make(share, &rules, volumes)?;
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
    let label = rules.export.to_string();
    if let Some(directory) = &args.directory {
        return work(&Dir::open(directory)?.with_label(label));
    }
    namespace::enter(&args.state_dir, None).context("make a mount namespace")?;
    crate::linux::clear_umask();
    let mounter: Arc<dyn Mounter> = Arc::new(SysMounter::new(args.state_dir.canonicalize()?));
    let (options, _) = nfs_options::parse(&args.mount_options)?;
    let root = mounter.mount_export(std::slice::from_ref(rules.export.source()), &options)?;
    let result = work(&root.dir);
    mounter.release_export(&root)?;
    result
}

fn write_records(share: &Dir, plan: &mut Plan) -> anyhow::Result<()> {
    let state = StateDir::create(share)?;
    let count = plan.rows.iter().filter(|row| row.fate == Fate::Import).count();
    // Shown on a terminal only.
    let bar = ProgressBar::new(count as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} records, {eta} left")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    for row in &mut plan.rows {
        if let (Fate::Import, Some(candidate)) = (&row.fate, &row.candidate) {
            let added = state.add(&candidate.key, &candidate.record)?;
            row.fate = if added {
                Fate::Imported
            } else {
                Fate::Conflict("a record has appeared meanwhile".to_owned())
            };
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn report(share: &Dir, plan: &Plan, args: &ImportArgs) -> anyhow::Result<()> {
    println!("{}", table::render(plan));
    let orphans = plan.orphans(share)?;
    if !orphans.is_empty() {
        println!("On the share without a PersistentVolume; left alone:");
        orphans.iter().take(ORPHANS_NAMED).for_each(|name| println!("  {name}"));
        if orphans.len() > ORPHANS_NAMED {
            println!("  and {} more", orphans.len() - ORPHANS_NAMED);
        }
        println!();
    }
    let manifests = manifest::list(plan, &args.driver_name)?;
    match &args.manifests {
        Some(path) => write_manifests(path, &manifests)?,
        None => println!("{manifests}"),
    }
    let conflicts = plan.count(|fate| matches!(fate, Fate::Conflict(_)));
    let (import, imported) =
        (plan.count(|fate| *fate == Fate::Import), plan.count(|fate| *fate == Fate::Imported));
    let there = plan.count(|fate| *fate == Fate::AlreadyImported);
    if args.yes {
        eprintln!("{imported} imported, {there} were already, {conflicts} conflicts");
    } else {
        eprintln!(
            "{import} would be imported, {there} are already, {conflicts} conflicts; nothing was written (--yes to do it)"
        );
    }
    if conflicts > 0 {
        bail!("{conflicts} volumes cannot be imported: see the table");
    }
    Ok(())
}

fn write_manifests(path: &Path, manifests: &str) -> anyhow::Result<()> {
    std::fs::write(path, manifests).with_context(|| format!("write {}", path.display()))?;
    eprintln!("manifests: {}", path.display());
    Ok(())
}
