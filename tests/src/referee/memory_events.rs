//! The memory controller's own count of kills.

use anyhow::Result;

use super::cpu_stat::field;
use crate::cgroup::{Cgroup, read};

/// Kills of processes of this cgroup (`oom_kill` of memory.events or memory.oom_control).
pub fn oom_kills(cgroup: &Cgroup) -> Result<u64> {
    let (version, dir) = cgroup.controller_dir("memory")?;
    let file = if version == 2 {
        "memory.events"
    } else {
        "memory.oom_control"
    };
    field(&read(&dir.join(file))?, "oom_kill")
}
