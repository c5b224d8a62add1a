//! The whole life of a volume on a real NFS server, with the calls that Kubernetes would make. Each step is shown and checked.
//!
//! `vm/run -- target/release/examples/demo DRIVER`, or `make demo`. The exit status is 1 if a step fails.

#[path = "../common/mod.rs"]
mod common;
mod page;
mod snapshot;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use common::{EXPORTED, PARAMETERS, SERVER, SHARE, STATE_DIR, Stage, human, timed};
use nfs_subdir_csi::csi::proto;
use page::Page;
use support::{Client, Service};

const PV: &str = "pvc-7d1f6c0e-5a3b-4c1e-9a57-2f0b6f4f8f11";
/// The names of the pods in the output, and the ids by which kubelet knows them.
const PODS: [(&str, &str); 3] = [
    ("web-1", "0b6c2d1e-91f4-4c5a-8d3e-6f7a8b9c0d1e"),
    ("web-2", "5f8e7d6c-2b1a-4f0e-9c8d-7b6a5f4e3d2c"),
    ("report", "c4d3e2f1-a0b9-4876-b5c4-d3e2f1a0b987"),
];

fn main() -> Result<ExitCode> {
    let driver = std::env::args_os().nth(1).map(PathBuf::from).context("usage: demo DRIVER")?;
    let stage = Stage::set(&driver)?;
    let mut page = Page::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let played = runtime.block_on(play(&stage, &mut page));
    if let Err(error) = &played {
        page.failed(error);
        println!("\n{}", stage.logs());
        return Ok(ExitCode::FAILURE);
    }
    println!("\nAll {} steps succeeded.", page.count());
    Ok(ExitCode::SUCCESS)
}

/// The driver, and the volume once it has been created.
struct Play<'a> {
    stage: &'a Stage,
    page: &'a mut Page,
    controller: Service,
    node: Service,
    client: Client,
    volume: proto::Volume,
    targets: Vec<PathBuf>,
}

async fn play(stage: &Stage, page: &mut Page) -> Result<()> {
    println!("nfs-subdir-csi: one claim, three pods, the NFS server {SERVER}:{SHARE}\n");
    println!("These are the calls that Kubernetes makes, on the NFS client and server of a real kernel.");
    println!(
        "The times are those of a User-Mode-Linux guest, where system calls take many times longer than usual."
    );

    page.chapter("The driver starts");
    page.begin("controller: GetPluginInfo");
    let controller = stage.controller()?;
    greet(page, &controller).await?;
    page.begin("node: GetPluginInfo");
    let node = stage.node()?;
    let client = greet(page, &node).await?;

    let mut play =
        Play { stage, page, controller, node, client, volume: proto::Volume::default(), targets: Vec::new() };
    play.claim().await?;
    play.two_pods().await?;
    play.a_reader().await?;
    play.the_node().await?;
    play.a_snapshot().await?;
    play.a_crash().await?;
    play.the_pods_end().await?;
    play.the_claim_goes().await?;
    play.what_is_left()
}

async fn greet(page: &mut Page, service: &Service) -> Result<Client> {
    let mut client = service.client().await;
    let (info, time) = timed(client.identity.get_plugin_info(proto::GetPluginInfoRequest {})).await?;
    let pid = service.pid();
    page.done(Some(time), format!("{} {}, process {pid}", info.name, info.vendor_version));
    Ok(client)
}

impl Play<'_> {
    async fn claim(&mut self) -> Result<()> {
        self.page.chapter("A claim becomes a directory on the server");
        self.page.begin("CreateVolume");
        let named = [
            ("csi.storage.k8s.io/pvc/name", "claim"),
            ("csi.storage.k8s.io/pvc/namespace", "demo"),
            ("csi.storage.k8s.io/pv/name", PV),
        ];
        let request = support::create(PV, &[PARAMETERS.as_slice(), &named].concat());
        let mut controller = self.controller.client().await.controller;
        let (answer, time) = timed(controller.create_volume(request)).await?;
        self.volume = answer.volume.context("the answer has no volume")?;
        let dir = common::on_server(&self.volume);
        let meta = dir.metadata().with_context(|| dir.display().to_string())?;
        let mode = meta.permissions().mode() & 0o7777;
        ensure!(mode == 0o770, "{} has mode {mode:04o}", dir.display());
        ensure!(dir.ends_with(format!("demo-claim-{PV}")), "the directory is {}", dir.display());
        let capacity = u64::try_from(self.volume.capacity_bytes)?;
        ensure!(capacity == 1 << 30, "the capacity is {capacity}");
        self.page.done(Some(time), "mounts the share for the driver and creates a directory");
        Page::more("volume id", &self.volume.volume_id);
        Page::more("directory", dir.display().to_string());
        Page::more("", format!("mode {mode:04o}, owner {}:{}", meta.uid(), meta.gid()));
        Page::more("capacity", human(capacity));
        Ok(())
    }

    async fn two_pods(&mut self) -> Result<()> {
        self.page.chapter("Two pods use it");
        for (pod, detail) in
            [(0, "mounts the share once for this node, then one bind mount"), (1, "one bind mount")]
        {
            self.publish(pod, false, detail).await?;
            if pod == 0 {
                let path = self.targets[0].to_string_lossy();
                let (pods, volume) =
                    path.split_once("/volumes/").context("the target path has no volumes/")?;
                Page::more("target", format!("{pods}/volumes/"));
                Page::more("", format!("  {volume}"));
            }
        }
        let text = "hello from web-1";
        self.page.begin("web-1 writes hello.txt");
        std::fs::write(self.file(0), text)?;
        self.page.done(None, format!("{text:?}"));
        self.reads(1, text)
    }

    async fn a_reader(&mut self) -> Result<()> {
        self.page.chapter("A third pod may only read");
        self.publish(2, true, "one bind mount, read-only from the start").await?;
        self.reads(2, "hello from web-1")?;
        self.page.begin("report cannot write it");
        let error =
            std::fs::write(self.file(2), "changed").err().context("a read-only volume was written to")?;
        ensure!(error.raw_os_error() == Some(nix::errno::Errno::EROFS as i32), "refused with {error}");
        self.page.done(None, nix::errno::Errno::EROFS.desc());
        self.page.begin("web-2 still can");
        std::fs::write(self.file(1), "changed by web-2")?;
        self.page.done(None, "");
        self.reads(2, "changed by web-2")
    }

    async fn publish(&mut self, pod: usize, readonly: bool, detail: &str) -> Result<()> {
        let (name, uid) = PODS[pod];
        self.page.begin(format!("NodePublishVolume for {name}"));
        let target = self.stage.target(uid, PV)?;
        let mut request = support::publish(&self.volume, &target, &[]);
        request.readonly = readonly;
        let (_, time) = timed(self.client.node.node_publish_volume(request)).await?;
        if pod == self.targets.len() {
            self.targets.push(target);
        }
        self.page.done(Some(time), detail);
        Ok(())
    }

    fn file(&self, pod: usize) -> PathBuf {
        self.targets[pod].join("hello.txt")
    }

    fn reads(&mut self, pod: usize, text: &str) -> Result<()> {
        self.page.begin(format!("{} reads hello.txt", PODS[pod].0));
        let read = std::fs::read_to_string(self.file(pod))?;
        ensure!(read == text, "it reads {read:?}");
        self.page.done(None, format!("{read:?}"));
        Ok(())
    }

    async fn the_node(&mut self) -> Result<()> {
        self.page.chapter("What there is on the node");
        self.page.begin("NodeGetVolumeStats");
        let request = proto::NodeGetVolumeStatsRequest {
            volume_id: self.volume.volume_id.clone(),
            volume_path: self.targets[0].to_string_lossy().into_owned(),
            ..Default::default()
        };
        let (stats, time) = timed(self.client.node.node_get_volume_stats(request)).await?;
        let [bytes, inodes] = stats.usage.as_slice() else {
            anyhow::bail!("it answers {} kinds of usage", stats.usage.len());
        };
        let human = |number: i64| u64::try_from(number).map(human);
        ensure!(bytes.total >= bytes.used + bytes.available && bytes.used > 0, "bytes: {bytes:?}");
        ensure!(inodes.total >= inodes.used + inodes.available && inodes.used > 0, "inodes: {inodes:?}");
        let text = format!("{} of {} used", human(bytes.used)?, human(bytes.total)?);
        self.page.done(Some(time), format!("{text}; {} of {} inodes", inodes.used, inodes.total));

        self.page.begin("mounts that the driver sees");
        let all = common::nfs_mounts(self.node.pid())?;
        let (binds, own): (Vec<_>, Vec<_>) =
            all.iter().partition(|mount| self.targets.contains(&mount.place));
        let [share] = own.as_slice() else { anyhow::bail!("{} mounts of the share", own.len()) };
        ensure!(binds.len() == 3 && common::file_systems(&all) == 1, "{} bind mounts", binds.len());
        ensure!(all.iter().all(|mount| mount.version == "4.2"), "NFS {}", share.version);
        let binds = binds.len();
        self.page
            .done(None, format!("1 NFS {} mount of the share, {binds} bind mounts of it", share.version));
        self.page.begin("mounts that the host sees");
        let host = common::nfs_mounts("self")?;
        let volumes = host.iter().filter(|mount| self.targets.contains(&mount.place)).count();
        ensure!(volumes == 3 && host.len() == 3, "{} mounts, {volumes} of them at targets", host.len());
        self.page.done(None, "the 3 bind mounts; no path leads to the whole share");
        Ok(())
    }

    async fn a_crash(&mut self) -> Result<()> {
        self.page.chapter("The driver is killed while pods run, and starts again");
        self.page.begin("SIGKILL to the node service");
        self.node.kill();
        self.page.done(None, format!("process {} is gone", self.node.pid()));
        self.page.begin("web-1 still writes");
        std::fs::write(self.file(0), "no driver, no matter")?;
        self.page.done(None, "");
        self.reads(1, "no driver, no matter")?;
        self.page.begin("node: GetPluginInfo");
        self.node = self.stage.node()?;
        self.client = greet(self.page, &self.node).await?;
        self.publish(0, false, "already published, nothing to do").await
    }

    async fn the_pods_end(&mut self) -> Result<()> {
        self.page.chapter("The pods end");
        for ((name, _), target) in PODS.iter().zip(&self.targets) {
            self.page.begin(format!("NodeUnpublishVolume for {name}"));
            let request = support::unpublish(&self.volume, target);
            let (_, time) = timed(self.client.node.node_unpublish_volume(request)).await?;
            ensure!(!target.exists(), "{} is still there", target.display());
            self.page.done(Some(time), "contacts no server");
        }
        self.page.begin("the data stays");
        let read = std::fs::read_to_string(common::on_server(&self.volume).join("hello.txt"))?;
        ensure!(read == "no driver, no matter", "it reads {read:?}");
        self.page.done(None, format!("hello.txt on the server: {read:?}"));
        Ok(())
    }

    async fn the_claim_goes(&mut self) -> Result<()> {
        self.page.chapter("The claim is deleted");
        self.page.begin("DeleteVolume");
        let mut controller = self.controller.client().await.controller;
        let (_, time) = timed(controller.delete_volume(support::delete(&self.volume))).await?;
        let dir = common::on_server(&self.volume);
        ensure!(!dir.exists(), "{} is still there", dir.display());
        self.page.done(Some(time), "one rename into the trash, whatever the volume contains");
        self.page.begin("the trash is emptied");
        common::trash_emptied().await?;
        self.page.done(None, "in the background");
        Ok(())
    }

    fn what_is_left(mut self) -> Result<()> {
        self.page.chapter("What is left");
        for (name, service) in [("controller", &mut self.controller), ("node", &mut self.node)] {
            self.page.begin(format!("SIGTERM to the {name}"));
            let status = service.stop();
            ensure!(status.success(), "it ended with {status}");
            self.page.done(None, "ends with exit status 0");
        }
        self.page.begin("on the export");
        let parts = names_in(Path::new(STATE_DIR))?;
        // Two things stay for as long as there is a state directory: a directory that a process can use when the file system is full, and
        // the note that all records have their claims.
        for part in parts.iter().filter(|part| *part != "spare") {
            let mut inside = names_in(&Path::new(STATE_DIR).join(part))?;
            inside.retain(|name| name != ".complete");
            ensure!(inside.is_empty(), "{part} contains {inside:?}");
        }
        let top = names_in(Path::new(EXPORTED))?;
        ensure!(top == [".nfs-subdir-csi"], "{EXPORTED} contains {top:?}");
        self.page.done(None, format!("{}, without a volume ({})", top.join(" "), parts.join(", ")));
        self.page.begin("in the mount table");
        let mounts = common::nfs_mounts("self")?.len();
        ensure!(mounts == 0, "{mounts} NFS mounts");
        self.page.done(None, "no NFS mount");
        Ok(())
    }
}

fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = dir.read_dir().with_context(|| dir.display().to_string())?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}
