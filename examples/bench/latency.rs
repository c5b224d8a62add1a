//! How long calls take, compared with what the kernel needs for the same: one round trip and one system call.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::mount::{MntFlags, MsFlags, mount};

use crate::common::{SERVER, SHARE, Stage, trash_emptied};
use crate::driver::{self, Running};
use crate::{row, table};

const CALLS: usize = 200;
/// The first calls are not counted.
const WARM_UP: usize = 10;
const MOUNT: &str = "/run/bench-latency";

pub(crate) async fn run(stage: &Stage) -> Result<()> {
    println!("Times of {CALLS} calls one after the other, in ms\n");
    let mut controller = Running::controller(stage).await?;
    let mut node = Running::node(stage).await?;
    let floor_dir = Floor::mount()?;
    let (mut probe, mut floor) = (Times::default(), Floor::default());
    let [mut create, mut publish, mut stats, mut unpublish, mut delete] = [const { Times::new() }; 5];
    for number in 0..WARM_UP + CALLS {
        if number == WARM_UP {
            for times in [&mut probe, &mut create, &mut publish, &mut stats, &mut unpublish, &mut delete] {
                times.0.clear();
            }
            floor = Floor::default();
        }
        // Measures driver and kernel in turns, so that other load on the machine affects both.
        floor.measure(&floor_dir, number)?;
        probe.add(node.probe().await?);
        let (volume, time) = controller.create(&format!("latency-{number}")).await?;
        create.add(time);
        let target = driver::target(stage, "latency", number)?;
        publish.add(node.publish(&volume, &target).await?);
        stats.add(node.stats(&volume, &target).await?);
        unpublish.add(node.unpublish(&volume, &target).await?);
        delete.add(controller.delete(&volume).await?);
        trash_emptied().await?;
    }
    unmount(&floor_dir)?;
    controller.stop().await?;
    node.stop().await?;

    let rows = [
        row!["Probe", ms(probe.percentile(50)), ms(probe.percentile(90)), "", "", ""],
        create.row("CreateVolume", &probe, "mkdir(2) over NFS", &floor.mkdir),
        publish.row("NodePublishVolume", &probe, "bind mount(2)", &floor.bind),
        stats.row("NodeGetVolumeStats", &probe, "statfs(2) over NFS", &floor.statfs),
        unpublish.row("NodeUnpublishVolume", &probe, "umount2(2)", &floor.unmount),
        delete.row("DeleteVolume", &probe, "rename(2) over NFS", &floor.rename),
    ];
    table::print(&["", "p50", "p90", "floor: Probe and", "p50", "times the floor"], &rows);
    println!(
        "\n  Alone: mkdir {}, rename {}, statfs {}, bind mount {}, umount2 {}.\n",
        ms(floor.mkdir.percentile(50)),
        ms(floor.rename.percentile(50)),
        ms(floor.statfs.percentile(50)),
        ms(floor.bind.percentile(50)),
        ms(floor.unmount.percentile(50)),
    );
    Ok(())
}

/// The system calls behind the calls of the driver, made by this program itself.
#[derive(Default)]
struct Floor {
    mkdir: Times,
    rename: Times,
    statfs: Times,
    bind: Times,
    unmount: Times,
}

impl Floor {
    /// Mounts the export for this program.
    fn mount() -> Result<PathBuf> {
        let root = PathBuf::from(MOUNT);
        std::fs::create_dir_all(&root)?;
        let source = format!("{SERVER}:{SHARE}");
        mount(Some(source.as_str()), &root, Some("nfs4"), MsFlags::empty(), Some("vers=4.2,addr=127.0.0.1"))?;
        Ok(root)
    }

    fn measure(&mut self, root: &Path, number: usize) -> Result<()> {
        let target = Path::new("/run/bench-latency-target");
        std::fs::create_dir_all(target)?;
        let (made, moved) = (root.join(format!("floor-{number}")), root.join(format!("moved-{number}")));
        self.mkdir.time(|| Ok(std::fs::create_dir(&made)?))?;
        let dir = std::fs::File::open(&made)?;
        let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let none = None::<&str>;
        self.bind.time(|| Ok(mount(Some(path.as_str()), target, none, MsFlags::MS_BIND, none)?))?;
        self.statfs.time(|| Ok(nix::sys::statvfs::statvfs(target).map(|_| ())?))?;
        self.unmount.time(|| unmount(target))?;
        drop(dir);
        self.rename.time(|| Ok(std::fs::rename(&made, &moved)?))?;
        Ok(std::fs::remove_dir(&moved)?)
    }
}

#[expect(clippy::disallowed_methods, reason = "the floor is the system call itself")]
fn unmount(place: &Path) -> Result<()> {
    Ok(nix::mount::umount2(place, MntFlags::UMOUNT_NOFOLLOW)?)
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn time(&mut self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        work()?;
        self.add(begun.elapsed());
        Ok(())
    }

    /// The time that `percent` of the calls do not exceed, in ms.
    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3
    }

    fn row(&self, call: &str, probe: &Self, system_call: &str, alone: &Self) -> Vec<String> {
        let (p50, p90) = (self.percentile(50), self.percentile(90));
        let floor = probe.percentile(50) + alone.percentile(50);
        row![call, ms(p50), ms(p90), system_call, ms(floor), format!("{:.1}", p50 / floor)]
    }
}

fn ms(time: f64) -> String {
    format!("{time:.2}")
}
