//! The guest's loopback as a network with a delay.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

/// Gives the guest's loopback the delay of a network, or removes the delay.
pub(crate) fn delay(round_trip: Option<Duration>) -> Result<()> {
    let loopback = |verb: &str, delay: &[&str]| -> Result<()> {
        let status = Command::new("tc").args(["qdisc", verb, "dev", "lo", "root"]).args(delay).status()?;
        ensure!(status.success(), "tc qdisc {verb} failed");
        Ok(())
    };
    let Some(round_trip) = round_trip else { return loopback("del", &[]) };
    ensure!(Command::new("modprobe").arg("sch_netem").status()?.success(), "no sch_netem in the guest");
    loopback("add", &["netem", "delay", &format!("{}us", round_trip.as_micros() / 2)])
}
