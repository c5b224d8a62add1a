//! Counters of the kernel: NFS requests, tasks, memory. Reading them starts no task and contacts no server.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel's names of the NFS 4 client's requests, in the order of the line `proc4` of /proc/net/rpc/nfs
/// (include/linux/nfs4.h: `NFSPROC4_CLNT_*`).
const KINDS: &str = "\
    NULL READ WRITE COMMIT OPEN OPEN_CONFIRM OPEN_NOATTR OPEN_DOWNGRADE CLOSE SETATTR FSINFO RENEW \
    SETCLIENTID SETCLIENTID_CONFIRM LOCK LOCKT LOCKU ACCESS GETATTR LOOKUP LOOKUP_ROOT REMOVE RENAME LINK \
    SYMLINK CREATE PATHCONF STATFS READLINK READDIR SERVER_CAPS DELEGRETURN GETACL SETACL FS_LOCATIONS \
    RELEASE_LOCKOWNER SECINFO FSID_PRESENT EXCHANGE_ID CREATE_SESSION DESTROY_SESSION SEQUENCE \
    GET_LEASE_TIME RECLAIM_COMPLETE LAYOUTGET GETDEVICEINFO LAYOUTCOMMIT LAYOUTRETURN SECINFO_NO_NAME \
    TEST_STATEID FREE_STATEID GETDEVICELIST BIND_CONN_TO_SESSION DESTROY_CLIENTID SEEK ALLOCATE DEALLOCATE \
    LAYOUTSTATS CLONE COPY OFFLOAD_CANCEL LOOKUPP LAYOUTERROR COPY_NOTIFY GETXATTR SETXATTR LISTXATTRS \
    REMOVEXATTR READ_PLUS";
/// Sent by a timer to keep the lease, whether or not anybody calls the driver.
const TIMER: &str = "SEQUENCE";
/// Requests that the server received and the kernel's client did not send: the driver itself asks whether a server answers.
const BY_HAND: &str = "NULL (the driver's own)";

/// The counters of the whole guest at one moment.
#[derive(Clone)]
struct Counters {
    requests: Vec<u64>,
    /// All requests that the server has received.
    received: u64,
    tasks: u64,
}

impl Counters {
    fn read() -> Result<Self> {
        let nfs = std::fs::read_to_string("/proc/net/rpc/nfs")?;
        let proc4 = nfs.lines().find_map(|line| line.strip_prefix("proc4 ")).context("no NFS 4 client")?;
        // The first number is the count of the numbers that follow.
        let requests: Vec<u64> = proc4.split(' ').skip(1).map(str::parse).collect::<Result<_, _>>()?;
        anyhow::ensure!(
            requests.len() == KINDS.split(' ').count(),
            "the NFS client of this kernel has other kinds of requests than this program knows"
        );
        let nfsd = std::fs::read_to_string("/proc/net/rpc/nfsd")?;
        let received = nfsd.lines().find_map(|line| line.strip_prefix("net ")?.split(' ').next());
        let received = received.context("no NFS server")?.parse()?;
        let stat = std::fs::read_to_string("/proc/stat")?;
        let tasks =
            stat.lines().find_map(|line| line.strip_prefix("processes ")).context("no `processes`")?;
        Ok(Self { requests, received, tasks: tasks.parse()? })
    }

    /// The counters when no request has been sent for a while, because CLOSE is sent after close(2) has returned.
    async fn at_rest() -> Result<Self> {
        let mut last = Self::read()?;
        loop {
            tokio::time::sleep(Duration::from_millis(15)).await;
            let now = Self::read()?;
            if now.requests == last.requests {
                return Ok(now);
            }
            last = now;
        }
    }
}

/// The requests and tasks of some calls.
#[derive(Clone)]
pub(crate) struct Cost {
    pub(crate) calls: u64,
    pub(crate) tasks: u64,
    /// How many of the tasks are general workers that the kernel has started meanwhile and that stay.
    pub(crate) workers: u64,
    kinds: BTreeMap<&'static str, u64>,
}

impl Cost {
    pub(crate) const fn new() -> Self {
        Self { calls: 0, tasks: 0, workers: 0, kinds: BTreeMap::new() }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Requests of one kind.
    pub(crate) fn of(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }

    /// The rest after subtracting `calls` calls that cost as much as those of `other`.
    pub(crate) fn minus(mut self, other: &Self, calls: u64) -> Self {
        for (kind, count) in &mut self.kinds {
            let price = other.kinds.get(kind).copied().unwrap_or(0);
            *count = count.saturating_sub((price * calls).div_ceil(other.calls.max(1)));
        }
        self.kinds.retain(|_, count| *count > 0);
        self
    }

    /// Both together, for the same calls.
    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.tasks += other.tasks;
        self.workers += other.workers;
        self
    }

    /// How many requests of each kind there are for each call.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|&(kind, &count)| (std::cmp::Reverse(count), kind));
        kinds.into_iter().map(|(kind, &count)| format!("{} {kind}", per_call(count, self.calls))).collect()
    }

    /// Runs `call` and adds what the guest has done until its NFS client is idle again.
    pub(crate) async fn add(&mut self, call: impl Future<Output = Result<()>>) -> Result<()> {
        let before = Counters::at_rest().await?;
        call.await?;
        let after = Counters::at_rest().await?;
        self.calls += 1;
        let mut sent = 0;
        for ((kind, before), after) in KINDS.split(' ').zip(&before.requests).zip(&after.requests) {
            sent += after - before;
            if after > before && kind != TIMER {
                *self.kinds.entry(kind).or_default() += after - before;
            }
        }
        let by_hand = (after.received - before.received).saturating_sub(sent);
        if by_hand > 0 {
            *self.kinds.entry(BY_HAND).or_default() += by_hand;
        }
        if after.tasks > before.tasks {
            self.tasks += after.tasks - before.tasks;
            self.workers += workers_since(before.tasks, after.tasks)?;
        }
        Ok(())
    }
}

/// The number of kernel workers among the newest tasks. Ids are given out in order, so the newest tasks have the largest.
fn workers_since(before: u64, after: u64) -> Result<u64> {
    let loadavg = std::fs::read_to_string("/proc/loadavg")?;
    let last: u64 = loadavg.trim().rsplit(' ').next().context("no last id")?.parse()?;
    let born = last.saturating_sub(after - before - 1)..=last;
    let is_worker = |id: u64| {
        std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.starts_with("kworker/"))
    };
    Ok(born.filter(|&id| is_worker(id)).count() as u64)
}

/// `count / calls`, with two digits unless it is a whole number.
#[expect(clippy::cast_precision_loss, reason = "for reading")]
pub(crate) fn per_call(count: u64, calls: u64) -> String {
    if calls > 0 && count.is_multiple_of(calls) {
        return (count / calls).to_string();
    }
    format!("{:.2}", count as f64 / calls as f64)
}

/// Makes the kernel drop all unused names and inodes from its caches, as on a node that has not used the volume yet.
pub(crate) fn forget_names() -> Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "2").context("drop caches")
}

/// Memory of a process in kB.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// The part of it that is not the content of a file: heap and stacks.
    pub(crate) anonymous: u64,
    /// The maximum of resident memory since the start, or since [`Memory::forget_peak`].
    pub(crate) peak: u64,
    pub(crate) threads: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
            Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
        };
        Ok(Self {
            resident: number("VmRSS")?,
            anonymous: number("RssAnon")?,
            peak: number("VmHWM")?,
            threads: number("Threads")?,
        })
    }

    /// Resets the maximum of a process to its present resident memory (proc_pid_clear_refs(5)).
    pub(crate) fn forget_peak(pid: u32) -> Result<()> {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the peak")
    }

    pub(crate) fn megabytes(kilobytes: u64) -> String {
        // The kernel's kB is 1024 bytes. An MB here is 1,000,000 bytes.
        let tenths = (kilobytes * 1024 + 50_000) / 100_000;
        format!("{}.{} MB", tenths / 10, tenths % 10)
    }
}
