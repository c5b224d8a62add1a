//! Stopping one thread of a service while its others go on, so that requests can be counted by who sends them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::common;
use crate::driver::Running;

/// A thread that stands still until this is dropped. It is stopped with ptrace(2), which the service does not notice.
pub(crate) struct Stopped(Pid);

impl Stopped {
    /// Stops the thread with this name, which must exist.
    pub(crate) fn thread(service: &Running, name: &str) -> Result<Self> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", service.pid()))?;
        for task in tasks {
            let task = task?.path();
            if std::fs::read_to_string(task.join("comm"))?.trim_end() == name {
                let id = task.file_name().and_then(|id| id.to_str()).context("no id")?.parse()?;
                let thread = Pid::from_raw(id);
                ptrace::seize(thread, ptrace::Options::empty()).context("seize")?;
                ptrace::interrupt(thread).context("interrupt")?;
                waitpid(thread, Some(WaitPidFlag::__WALL)).context("wait for the thread to stop")?;
                return Ok(Self(thread));
            }
        }
        anyhow::bail!("the service has no thread {name:?}")
    }

    /// Lets the thread go on, and waits until the directories of processes contain nothing more that it has to remove.
    pub(crate) async fn goes_on(self) -> Result<()> {
        drop(self);
        let begun = Instant::now();
        while common::in_work() > 0 {
            ensure!(begun.elapsed() < Duration::from_mins(1), "something is still left after a minute");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Kills the service, so that the thread does nothing more.
    pub(crate) fn dies_with(self, mut service: Running) -> Result<()> {
        let pid = i32::try_from(service.pid())?;
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        // The service has ended when its last thread has, and this program has to be told about the thread that it has stopped.
        waitpid(self.0, Some(WaitPidFlag::__WALL)).context("wait for the thread to end")?;
        service.kill();
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Fails if the thread does not exist any more.
        let _ = ptrace::detach(self.0, None);
    }
}
