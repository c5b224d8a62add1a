//! How long each call takes, beside the least that the kernel needs for the same effect.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::mount::{MntFlags, MsFlags, mount};

use crate::common::{SERVER, SHARE, Stage, trash_emptied};
use crate::driver::{self, Running};
use crate::{row, table};

const CALLS: usize = 200;
const MOUNT: &str = "/run/bench-latency";

pub(crate) async fn run(stage: &Stage) -> Result<()> {
    println!("Times of {CALLS} calls one after the other, ms\n");
    let mut controller = Running::controller(stage).await?;
    let mut node = Running::node(stage).await?;
    // The exports are mounted from here on.
    let first = controller.create("latency-first").await?.0;
    let place = driver::target(stage, "latency-first", 0)?;
    node.publish(&first, &place).await?;

    let mut probe = Times::default();
    for _ in 0..CALLS {
        probe.add(node.probe().await?);
    }
    let (mut create, mut publish, mut stats) = (Times::default(), Times::default(), Times::default());
    let (mut unpublish, mut delete) = (Times::default(), Times::default());
    for number in 0..CALLS {
        let (volume, time) = controller.create(&format!("latency-{number}")).await?;
        create.add(time);
        let target = driver::target(stage, "latency", number)?;
        publish.add(node.publish(&volume, &target).await?);
        stats.add(node.stats(&volume, &target).await?);
        unpublish.add(node.unpublish(&volume, &target).await?);
        delete.add(controller.delete(&volume).await?);
    }
    node.unpublish(&first, &place).await?;
    controller.delete(&first).await?;
    trash_emptied().await?;
    controller.stop().await?;
    node.stop().await?;

    let floor = Floor::measure()?;
    let rows = [
        probe.row("Probe: the round trip alone", None),
        create.row("CreateVolume / mkdir over NFS", Some(&floor.mkdir)),
        publish.row("NodePublishVolume / bind mount(2)", Some(&floor.bind)),
        stats.row("NodeGetVolumeStats / statfs(2)", Some(&floor.statfs)),
        unpublish.row("NodeUnpublishVolume / umount2(2)", Some(&floor.unmount)),
        delete.row("DeleteVolume / rename(2) over NFS", Some(&floor.rename)),
    ];
    table::print(
        &["call / floor", "p50", "p90", "floor p50", "p50 less Probe, by floor"],
        &rows.map(|row| row(&probe)),
    );
    println!();
    Ok(())
}

/// What the calls come down to, done by this program itself.
struct Floor {
    mkdir: Times,
    rename: Times,
    statfs: Times,
    bind: Times,
    unmount: Times,
}

impl Floor {
    fn measure() -> Result<Self> {
        let root = Path::new(MOUNT);
        std::fs::create_dir_all(root)?;
        let source = format!("{SERVER}:{SHARE}");
        mount(Some(source.as_str()), root, Some("nfs4"), MsFlags::empty(), Some("vers=4.2,addr=127.0.0.1"))?;
        let target = PathBuf::from("/run/bench-latency-target");
        std::fs::create_dir_all(&target)?;
        let mut floor = Self {
            mkdir: Times::default(),
            rename: Times::default(),
            statfs: Times::default(),
            bind: Times::default(),
            unmount: Times::default(),
        };
        for number in 0..CALLS {
            let (made, moved) = (root.join(format!("floor-{number}")), root.join(format!("moved-{number}")));
            floor.mkdir.time(|| Ok(std::fs::create_dir(&made)?))?;
            let dir = std::fs::File::open(&made)?;
            let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
            let none = None::<&str>;
            floor.bind.time(|| Ok(mount(Some(path.as_str()), &target, none, MsFlags::MS_BIND, none)?))?;
            floor.statfs.time(|| Ok(nix::sys::statvfs::statvfs(&target).map(|_| ())?))?;
            floor.unmount.time(|| unmount(&target))?;
            drop(dir);
            floor.rename.time(|| Ok(std::fs::rename(&made, &moved)?))?;
            std::fs::remove_dir(&moved)?;
        }
        unmount(root)?;
        Ok(floor)
    }
}

#[expect(clippy::disallowed_methods, reason = "the floor is the system call itself")]
fn unmount(place: &Path) -> Result<()> {
    Ok(nix::mount::umount2(place, MntFlags::UMOUNT_NOFOLLOW)?)
}

#[derive(Default, Clone)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn time(&mut self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        work()?;
        self.add(begun.elapsed());
        Ok(())
    }

    /// The time that so many of a hundred calls do not exceed, in ms.
    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3
    }

    /// The row of a call; the round trip that every call pays is known only when it is printed.
    fn row(&self, name: &'static str, floor: Option<&Self>) -> impl FnOnce(&Self) -> Vec<String> + use<> {
        let (p50, p90) = (self.percentile(50), self.percentile(90));
        let floor = floor.map(|floor| floor.percentile(50));
        move |probe: &Self| match floor {
            None => row!(name, format!("{p50:.2}"), format!("{p90:.2}"), "", ""),
            Some(floor) => {
                let own = (p50 - probe.percentile(50)).max(0.0) / floor;
                row!(
                    name,
                    format!("{p50:.2}"),
                    format!("{p90:.2}"),
                    format!("{floor:.3}"),
                    format!("{own:.1}")
                )
            }
        }
    }
}
