//! Pressure stall information of a cgroup, which only the v2 tree has.

use anyhow::{Context, Result};

use crate::cgroup::{Cgroup, read};

/// Nanoseconds in which some task of the cgroup wanted to run and did not (`psi_group_change`,
/// kernel/sched/psi.c); `None` where the kernel does not count it.
pub fn cpu_some_ns(cgroup: &Cgroup) -> Result<Option<u64>> {
    let file = cgroup.unified_dir().map(|dir| dir.join("cpu.pressure"));
    let Some(file) = file.filter(|file| file.exists()) else {
        return Ok(None);
    };
    // The file is there also where psi=0 has it answer with EOPNOTSUPP.
    let Ok(text) = read(&file) else {
        return Ok(None);
    };
    let some = text.lines().find(|line| line.starts_with("some "));
    let total = some.and_then(|line| line.rsplit_once("total="));
    let (_, total) = total.with_context(|| text.clone())?;
    let us: u64 = total.trim().parse().with_context(|| text.clone())?;
    Ok(Some(us * 1_000))
}
