//! Copies trees on one export, and compares with other programs. It calls the library directly, because the driver only adds
//! the job around the copy.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::linux::copy::{CopyRequest, DeviceNodes, Progress, Support, copy_tree};
use nfs_subdir_csi::linux::remove::{Pace, remove_tree};
use nfs_subdir_csi::linux::{self, Dir};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, Timespec, Timestamps};

use crate::common::{EXPORTED, SERVER, SHARE};
use crate::gauges::{Cost, per_call};
use crate::verdict::Verdict;
use crate::{network, row, table};

const MOUNT: &str = "/run/bench-copy";
const LARGE: u64 = 1 << 30;
/// tar and gzip are much slower, so they get only a part of the large file.
const LARGE_FOR_TAR: u64 = LARGE / 8;
const SMALL_FILES: u64 = 20_000;
const SMALL_FILES_FAR: u64 = 2_000;
/// How long a request takes to the server and back in the part that simulates a network.
const ROUND_TRIP: Duration = Duration::from_micros(500);
/// The best of these numbers of threads gives the floor.
const FLOOR_THREADS: [usize; 2] = [1, 8];

pub(crate) async fn run(verdict: &mut Verdict) -> Result<()> {
    linux::clear_umask();
    linux::raise_open_files()?;
    println!("Copying on one export: NFS 4.2, XFS with reflinks\n");
    let mut rows = Vec::new();

    large_file(&source("large"), LARGE)?;
    large_file(&source("large-for-tar"), LARGE_FOR_TAR)?;
    let large = compare("large", &mut rows, &format!("a file of {} MiB", LARGE >> 20), 1, 5).await?;
    let (tar, _) = measure("large-for-tar", tar).await?;
    let tar = tar * u32::try_from(LARGE / LARGE_FOR_TAR)?;
    rows.push(row!("tar czf (from a part of it)", seconds(tar), "", ratio(tar, large.ours)));

    small_files(&source("small"), SMALL_FILES)?;
    let small = compare("small", &mut rows, &format!("{SMALL_FILES} small files"), SMALL_FILES, 2).await?;
    let (tar_small, cost) = measure("small", self::tar).await?;
    rows.push(row!(
        "tar czf",
        seconds(tar_small),
        per_call(cost.requests(), SMALL_FILES),
        ratio(tar_small, small.ours)
    ));

    let files = mixed(&source("mixed"))?;
    compare("mixed", &mut rows, &format!("a mixed tree of {files} files"), files, 3).await?;

    small_files(&source("far"), SMALL_FILES_FAR)?;
    network::delay(Some(ROUND_TRIP))?;
    let title =
        format!("{SMALL_FILES_FAR} small files, {} µs to the server and back", ROUND_TRIP.as_micros());
    let far = compare("far", &mut rows, &title, SMALL_FILES_FAR, 4).await?;
    network::delay(None)?;

    table::print(&["", "time", "NFS requests a file", "times ours"], &rows);
    println!();
    table::print_list("requests a small file", &small.kinds);
    println!();
    verdict.count(
        small.requests_without_lists <= 7.5,
        "a small file takes at most 7.5 requests, not counting the one for its access control list",
    );
    verdict.say(tar >= large.ours * 100, "a large file is copied 100 times as fast as by tar");
    verdict.say(small.ours < small.cp && far.ours < far.cp, "small files are copied faster than by cp -a");
    verdict.say(small.ours <= small.floor.mul_f64(1.2), "small files take at most 1.2 times the floor");
    verdict.say(
        far.ours <= far.floor.mul_f64(1.2),
        "small files take at most 1.2 times the floor over a network",
    );
    remove(Path::new(EXPORTED), "copying")
}

/// The results for one tree.
struct Times {
    ours: Duration,
    cp: Duration,
    floor: Duration,
    requests_without_lists: f64,
    kinds: Vec<String>,
}

/// Copies the tree with `copy_tree`, with cp and with the floor. The best of `rounds` rounds counts.
async fn compare(
    name: &str,
    rows: &mut Vec<Vec<String>>,
    title: &str,
    files: u64,
    rounds: usize,
) -> Result<Times> {
    rows.push(vec![title.to_owned()]);
    let (mut ours, mut by_cp, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(measure(name, copy).await?);
        by_cp.push(measure(name, cp).await?);
        for threads in FLOOR_THREADS {
            floor.push(measure(name, move |from, to| self::floor(from, to, threads)).await?);
        }
    }
    let best = |runs: Vec<(Duration, Cost)>| runs.into_iter().min_by_key(|(time, _)| *time).context("no run");
    let (ours, by_cp, floor) = (best(ours)?, best(by_cp)?, best(floor)?);
    for (what, (time, cost)) in [("copy_tree", &ours), ("cp -a --reflink=auto", &by_cp), ("floor", &floor)] {
        rows.push(row!(what, seconds(*time), per_call(cost.requests(), files), ratio(*time, ours.0)));
    }
    let mut cost = ours.1;
    cost.calls = files;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let requests_without_lists = (cost.requests() - cost.of("GETACL")) as f64 / files as f64;
    Ok(Times { ours: ours.0, cp: by_cp.0, floor: floor.0, requests_without_lists, kinds: cost.kinds() })
}

/// Mounts the export, so that the client has cached nothing, and lets `copy` copy the tree `name` into a new directory.
async fn measure(name: &str, copy: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<(Duration, Cost)> {
    let (top, new) = (Path::new(EXPORTED).join("copying"), "new");
    std::fs::create_dir(top.join(new))?;
    std::fs::create_dir_all(MOUNT)?;
    let export = format!("{SERVER}:{SHARE}");
    let mount = ["-i", "-t", "nfs4", "-o", "vers=4.2,addr=127.0.0.1", &export, MOUNT];
    ensure!(Command::new("mount").args(mount).status()?.success(), "mounting {export} failed");
    let mounted = Path::new(MOUNT).join("copying");
    let (mut cost, mut time) = (Cost::new(), Duration::ZERO);
    let measured = cost
        .add(async {
            let begun = Instant::now();
            copy(&mounted.join(name), &mounted.join(new))?;
            time = begun.elapsed();
            Ok(())
        })
        .await;
    ensure!(Command::new("umount").arg(MOUNT).status()?.success(), "unmounting {export} failed");
    measured?;
    remove(&top, new)?;
    Ok((time, cost))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to.join("copy"))?;
    std::fs::create_dir(to.join("links"))?;
    let (support, progress) = (Support::same_export(), Progress::default());
    copy_tree(&CopyRequest {
        from: &Dir::open(from)?,
        to: &Dir::open(&to.join("copy"))?,
        links: &Dir::open(&to.join("links"))?,
        support: &support,
        devices: DeviceNodes::Copy,
        progress: &progress,
    })?;
    ensure!(support.used() == "clone", "the server does not clone");
    Ok(())
}

fn cp(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status()?;
    ensure!(status.success(), "cp failed");
    Ok(())
}

/// Writes an archive on the export, as csi-driver-nfs does.
fn tar(from: &Path, to: &Path) -> Result<()> {
    let status =
        Command::new("tar").arg("czf").arg(to.join("archive")).arg("-C").arg(from).arg(".").status()?;
    ensure!(status.success(), "tar failed");
    Ok(())
}

/// Only what cannot be avoided: opens, creates and clones every file, sets its times and closes it. Sets no owner, no
/// attributes and no access lists, makes no hard links, and sets nothing on directories.
fn floor(from: &Path, to: &Path, threads: usize) -> Result<()> {
    type Batch = (Arc<(OwnedFd, OwnedFd)>, Vec<OsString>);
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::open(path, directory, Mode::empty());
    let mut directories = vec![(from.to_owned(), to.to_owned())];
    let mut batches: Vec<Batch> = Vec::new();
    while let Some((from, to)) = directories.pop() {
        let pair = Arc::new((open(&from)?, open(&to)?));
        let mut names = Vec::new();
        for entry in from.read_dir()? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let below = to.join(entry.file_name());
                std::fs::create_dir(&below)?;
                directories.push((entry.path(), below));
            } else {
                names.push(entry.file_name());
            }
        }
        batches.extend(names.chunks(16).map(|names| (Arc::clone(&pair), names.to_vec())));
    }
    let batches = Mutex::new(batches);
    let work = || -> Result<()> {
        loop {
            let Some((pair, names)) = batches.lock().ok().and_then(|mut batches| batches.pop()) else {
                return Ok(());
            };
            for name in &names {
                clone_file(&pair.0, &pair.1, name).with_context(|| name.display().to_string())?;
            }
        }
    };
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        work()?;
        helpers.into_iter().try_for_each(|helper| helper.join().expect("no panic"))
    })
}

fn clone_file(from: &OwnedFd, to: &OwnedFd, name: &OsString) -> Result<()> {
    // With DIRECT the client asks for no delegation, which it would have to return.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::DIRECT | OFlags::CLOEXEC;
    let source = match rustix::fs::openat(from, name, flags, Mode::empty()) {
        Err(rustix::io::Errno::LOOP) => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            return Ok(rustix::fs::symlinkat(&target, to, name)?);
        }
        source => source?,
    };
    let stat = rustix::fs::statx(&source, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    ensure!(FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile, "no file");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(stat.stx_mode.into()))?;
    rustix::fs::ioctl_ficlone(&target, &source)?;
    let time =
        |time: &rustix::fs::StatxTimestamp| Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec.into() };
    let times = Timestamps { last_access: time(&stat.stx_atime), last_modification: time(&stat.stx_mtime) };
    Ok(rustix::fs::futimens(&target, &times)?)
}

fn source(name: &str) -> PathBuf {
    Path::new(EXPORTED).join("copying").join(name)
}

fn large_file(top: &Path, length: u64) -> Result<()> {
    std::fs::create_dir_all(top)?;
    let file = std::fs::File::create(top.join("file"))?;
    // Random data, which gzip cannot compress.
    let mut state = 1u64;
    let mut noise = vec![0; 1 << 20];
    for at in (0..length).step_by(noise.len()) {
        for word in noise.chunks_exact_mut(8) {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            word.copy_from_slice(&(state ^ state >> 29).to_le_bytes());
        }
        file.write_all_at(&noise, at)?;
    }
    Ok(file.sync_all()?)
}

/// Creates small files, 200 in each directory.
fn small_files(top: &Path, count: u64) -> Result<()> {
    for number in 0..count {
        let dir = top.join((number / 200).to_string());
        if number % 200 == 0 {
            std::fs::create_dir_all(&dir)?;
        }
        std::fs::write(dir.join(number.to_string()), number.to_string())?;
    }
    Ok(())
}

/// Creates files of many sizes, links, extended attributes, and files of another owner.
fn mixed(top: &Path) -> Result<u64> {
    const DIRS: u64 = 100;
    for number in 0..DIRS {
        let dir = top.join((number % 10).to_string()).join(number.to_string());
        std::fs::create_dir_all(&dir)?;
        for file in 0..20 {
            std::fs::write(dir.join(file.to_string()), vec![b'm'; file * file * 500])?;
        }
        std::fs::hard_link(dir.join("1"), dir.join("hard link"))?;
        symlink("1", dir.join("link"))?;
        for file in ["2", "3", "4"] {
            lchown(dir.join(file), Some(1000), Some(1000))?;
        }
        let no_flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(dir.join("5"), "user.bench", b"value", no_flags)?;
    }
    Ok(DIRS * 22)
}

fn remove(parent: &Path, name: &str) -> Result<()> {
    remove_tree(&Dir::open(parent)?, name.as_ref(), &Pace::new(None))
        .map_err(|errors| anyhow::anyhow!("{errors:?}"))
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn ratio(time: Duration, ours: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() / ours.as_secs_f64())
}
