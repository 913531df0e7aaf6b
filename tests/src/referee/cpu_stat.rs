//! The CPU controller's own figures.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{
    cgroup::{Cgroup, read},
    emulated,
    wait::{self, PATIENCE},
};

/// `cpu.stat` of a cgroup, in v1 or v2 (Documentation/scheduler/sched-bwc.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuStat {
    /// Periods in which the cgroup was accounted.
    pub periods: u64,
    /// Periods in which it ran out of quota.
    pub throttled_periods: u64,
    /// Throttled time summed over CPUs, in ns.
    pub throttled_ns: u64,
}

impl CpuStat {
    /// Reads it now.
    pub fn of(cgroup: &Cgroup) -> Result<Self> {
        let (version, dir) = cgroup.controller_dir("cpu")?;
        Self::in_dir(version, &dir)
    }

    /// Reads it in a directory of this version of the interface.
    pub fn in_dir(version: u8, dir: &Path) -> Result<Self> {
        let text = read(&dir.join("cpu.stat"))?;
        let field = |name| field(&text, name);
        Ok(Self {
            periods: field("nr_periods")?,
            throttled_periods: field("nr_throttled")?,
            throttled_ns: match version {
                1 => field("throttled_time")?,
                _ => field("throttled_usec")? * 1000,
            },
        })
    }

    /// What was counted since `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            periods: self.periods - before.periods,
            throttled_periods: self.throttled_periods - before.throttled_periods,
            throttled_ns: self.throttled_ns - before.throttled_ns,
        }
    }

    /// Reads it when the period timer has stopped: an interval that is still open is in neither
    /// our figure nor the kernel's.
    pub fn at_rest(cgroup: &Cgroup, period: Duration) -> Result<Self> {
        // An emulated CPU that has to wait for a real one is late with its timers: on a busy machine
        // an interval of 110 ms was still open after 50 ms without a change.
        let least = if emulated() { 300 } else { 50 };
        let calm = (period * 4).max(Duration::from_millis(least));
        wait::until_at_rest("cpu.stat", calm, PATIENCE, || Self::of(cgroup))
    }
}

/// CPU time that the cgroup used, in ns (cpuacct.usage or usage_usec).
pub fn usage_ns(cgroup: &Cgroup) -> Result<u64> {
    if let Ok((1, dir)) = cgroup.controller_dir("cpuacct") {
        let text = read(&dir.join("cpuacct.usage"))?;
        return text
            .trim()
            .parse()
            .with_context(|| format!("cpuacct.usage is {text:?}"));
    }
    let Some(dir) = cgroup.unified_dir() else {
        bail!("no hierarchy accounts CPU time")
    };
    Ok(field(&read(&dir.join("cpu.stat"))?, "usage_usec")? * 1000)
}

/// The number behind `name` in a flat keyed file.
pub fn field(text: &str, name: &str) -> Result<u64> {
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(' ')?
                .trim()
                .parse()
                .ok()
        })
        .with_context(|| format!("no {name} in {text:?}"))
}
