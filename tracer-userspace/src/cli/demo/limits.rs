//! Sets the limits of the demo's cgroups and reads the kernel's own account of what they did.

use anyhow::{Context, Result};

use crate::kernel::cgroup_mounts::CgroupVersion;

use super::{
    cgroup_file::{read, write},
    sandbox::Group,
};

/// The kernel's account of a CPU quota (`cpu.stat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// Periods that passed.
    pub periods: u64,
    /// Periods with throttling.
    pub throttled_periods: u64,
    /// Throttled time summed over CPUs, in nanoseconds.
    pub throttled_ns: u64,
}

impl Group {
    /// Limits memory, swap included, to `bytes`.
    pub fn limit_memory(&self, bytes: u64) -> Result<()> {
        let (version, dir) = self.with_controller("memory")?;
        // v1 counts memory and swap together, v2 swap alone. Neither file is there where the
        // kernel does not account swap.
        let (limit, swap, swap_bytes) = match version {
            CgroupVersion::V1 => (
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                bytes,
            ),
            CgroupVersion::V2 => ("memory.max", "memory.swap.max", 0),
        };
        write(&dir.join(limit), &bytes.to_string())?;
        if dir.join(swap).exists() {
            write(&dir.join(swap), &swap_bytes.to_string())?;
        }
        Ok(())
    }

    /// Gives it `quota_us` of CPU time in each `period_us`, both in microseconds.
    pub fn limit_cpu(&self, quota_us: u64, period_us: u64) -> Result<()> {
        let (version, dir) = self.with_controller("cpu")?;
        match version {
            CgroupVersion::V1 => {
                write(&dir.join("cpu.cfs_period_us"), &period_us.to_string())?;
                write(&dir.join("cpu.cfs_quota_us"), &quota_us.to_string())
            }
            CgroupVersion::V2 => write(&dir.join("cpu.max"), &format!("{quota_us} {period_us}")),
        }
        .context("the demo needs a kernel with CFS bandwidth control (CONFIG_CFS_BANDWIDTH)")
    }

    /// What the kernel counted of the quota.
    pub fn cpu_stat(&self) -> Result<CpuStat> {
        let (_, dir) = self.with_controller("cpu")?;
        let text = read(&dir.join("cpu.stat"))?;
        CpuStat::parse(&text).with_context(|| format!("cpu.stat is not as expected: {text:?}"))
    }

    /// OOM kills that the kernel counted, and the name of its file.
    pub fn oom_kills(&self) -> Result<(u64, &'static str)> {
        let (version, dir) = self.with_controller("memory")?;
        let file = match version {
            CgroupVersion::V1 => "memory.oom_control",
            CgroupVersion::V2 => "memory.events",
        };
        let text = read(&dir.join(file))?;
        let kills = number(&text, "oom_kill")
            .with_context(|| format!("{file} holds no oom_kill: {text:?}"))?;
        Ok((kills, file))
    }
}

impl CpuStat {
    /// v1 has `throttled_time` in nanoseconds, v2 `throttled_usec`.
    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            periods: number(text, "nr_periods")?,
            throttled_periods: number(text, "nr_throttled")?,
            throttled_ns: match number(text, "throttled_time") {
                Some(nanoseconds) => nanoseconds,
                None => number(text, "throttled_usec")?.checked_mul(1000)?,
            },
        })
    }
}

fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_interfaces_are_read() {
        let expected = CpuStat {
            periods: 61,
            throttled_periods: 60,
            throttled_ns: 7_000_000,
        };
        let v1 = "nr_periods 61\nnr_throttled 60\nthrottled_time 7000000\nnr_bursts 0\n";
        let v2 = "usage_usec 9\nnr_periods 61\nnr_throttled 60\nthrottled_usec 7000\n";
        assert_eq!(CpuStat::parse(v1), Some(expected));
        assert_eq!(CpuStat::parse(v2), Some(expected));
        assert_eq!(CpuStat::parse("usage_usec 9\n"), None);
        assert_eq!(CpuStat::parse("nr_periods x\nnr_throttled 1\n"), None);
    }

    #[test]
    fn a_name_is_whole() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(number(text, "oom_kill"), Some(3));
        assert_eq!(number("oom_kill_disable 0\n", "oom_kill"), None);
    }
}
