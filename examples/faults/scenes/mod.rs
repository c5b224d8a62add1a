//! What happens with many calls, many dead exports, and services that end while the server is dead.

mod cycles;
mod dead_copies;
mod dead_exports;
mod many_calls;
mod stopping;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nfs_subdir_csi::csi::proto;
use proto::Volume;
use tonic::{Code, Status};

use crate::round::until_ok;
use crate::support;
use crate::world::{Clients, KUBELET, Version, World, configure};

/// The names of the scenes.
const NAMES: [&str; 5] = ["many-calls", "dead-exports", "stopping", "dead-copies", "cycles"];

/// Plays these scenes, or all if none is named. Returns whether everything is as promised.
pub(crate) async fn run(driver: &Path, version: Version, named: &[&str]) -> Result<bool> {
    let mut world = World::make(driver, version)?;
    let mut failed = Vec::new();
    for name in NAMES.into_iter().filter(|name| named.is_empty() || named.contains(name)) {
        let begun = Instant::now();
        println!("\nNFS {}: scene {name}", version.name());
        configure(version, &[("faulty", "/share")], "")?;
        let played = match name {
            "many-calls" => many_calls::play(&mut world).await,
            "dead-exports" => dead_exports::play(&mut world, version).await,
            "stopping" => stopping::play(&mut world).await,
            "dead-copies" => dead_copies::play(&mut world).await,
            "cycles" => cycles::play(&mut world).await,
            _ => bail!("no scene {name}"),
        };
        world.end("-KILL").await?;
        // What one scene has left must not affect the next one.
        world.link(crate::clients::Link::default())?;
        crate::agent::server_is_up()?;
        match played {
            Ok(()) => println!("  ok   {name} in {:.0} s", begun.elapsed().as_secs_f64()),
            Err(error) => {
                println!("  FAIL {name} after {:.0} s: {error:#}", begun.elapsed().as_secs_f64());
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        println!("{}", World::logs());
    }
    println!("NFS {}: scenes that failed: {failed:?}", version.name());
    Ok(failed.is_empty())
}

/// A call's answer and time.
struct Timed {
    answer: Result<(), Status>,
    took: Duration,
}

impl Timed {
    async fn of<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Self {
        let begun = Instant::now();
        let answer = call.await.map(drop);
        Self { answer, took: begun.elapsed() }
    }

    fn code(&self) -> Code {
        self.answer.as_ref().err().map_or(Code::Ok, Status::code)
    }

    fn message(&self) -> &str {
        self.answer.as_ref().err().map_or("", Status::message)
    }
}

/// Prints how many answers there are with each code, and the longest time.
fn tally(what: &str, answers: &[Timed]) {
    let mut codes: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for answer in answers {
        *codes.entry(format!("{:?}", answer.code())).or_default() += 1;
    }
    let codes: Vec<String> = codes.into_iter().map(|(code, count)| format!("{count} {code}")).collect();
    let longest = answers.iter().map(|answer| answer.took).max().unwrap_or_default();
    println!("  {what}: {}, the longest after {:.2} s", codes.join(", "), longest.as_secs_f64());
}

async fn create(clients: &Clients, export: &str, name: &str) -> Result<Volume> {
    let request = support::create(name, &[("export", export)]);
    let made = until_ok(async || clients.controller.controller.clone().create_volume(request.clone()).await);
    made.await.with_context(|| format!("create {name}"))?.volume.context("no volume")
}

async fn delete(clients: &Clients, volume: &Volume) -> Result<()> {
    until_ok(async || clients.controller.controller.clone().delete_volume(support::delete(volume)).await)
        .await
        .with_context(|| format!("delete {}", volume.volume_id))
        .map(drop)
}

async fn publish(clients: &Clients, volume: &Volume, target: &Path) -> Result<()> {
    until_ok(async || {
        clients.node.node.clone().node_publish_volume(support::publish(volume, target, &[])).await
    })
    .await
    .with_context(|| format!("publish {}", volume.volume_id))
    .map(drop)
}

async fn unpublish(clients: &Clients, volume: &Volume, target: &Path) -> Timed {
    Timed::of(clients.node.node.clone().node_unpublish_volume(support::unpublish(volume, target))).await
}

/// A target path. The directory above it exists.
fn target(name: &str) -> Result<PathBuf> {
    let above = Path::new(KUBELET).join("pods").join(name);
    std::fs::create_dir_all(&above)?;
    Ok(above.join("mount"))
}
