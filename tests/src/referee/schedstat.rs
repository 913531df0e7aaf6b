//! The scheduler's own counters of every thread in a cgroup, from /proc.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};

use super::cpu_stat;
use crate::{
    cgroup::Cgroup,
    wait::{self, PATIENCE},
};

/// Counters of a thread, or a sum of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// `voluntary_ctxt_switches` of status.
    pub voluntary: u64,
    /// `nonvoluntary_ctxt_switches` of status.
    pub involuntary: u64,
    /// Time on a CPU in ns (schedstat, first field).
    pub run_ns: u64,
    /// Time on a run queue in ns, throttled time included (schedstat, second field).
    pub wait_ns: u64,
    /// Times it was switched in (schedstat, third field).
    pub timeslices: u64,
}

/// All threads of a cgroup at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By thread id.
    pub threads: BTreeMap<u32, Counters>,
}

impl Snapshot {
    /// Reads every thread of every process in the cgroup.
    pub fn of(cgroup: &Cgroup) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for pid in cgroup.procs()? {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let tid: u32 = task?.file_name().to_string_lossy().parse()?;
                threads.insert(tid, counters(pid, tid)?);
            }
        }
        Ok(Self { threads })
    }

    /// Reads them when they stand still: the state of a thread says "sleeping" a moment before
    /// its switch is counted.
    pub fn at_rest(cgroup: &Cgroup) -> Result<Self> {
        let calm = Duration::from_millis(30);
        wait::until_at_rest("the threads' counters", calm, PATIENCE, || Self::of(cgroup))
    }

    /// What was added since `before`; a thread that is new counts from its birth.
    pub fn since(&self, before: &Self) -> Counters {
        let mut sum = Counters::default();
        for (tid, now) in &self.threads {
            let old = before.threads.get(tid).copied().unwrap_or_default();
            sum.voluntary += now.voluntary - old.voluntary;
            sum.involuntary += now.involuntary - old.involuntary;
            sum.run_ns += now.run_ns - old.run_ns;
            sum.wait_ns += now.wait_ns - old.wait_ns;
            sum.timeslices += now.timeslices - old.timeslices;
        }
        sum
    }
}

fn counters(pid: u32, tid: u32) -> Result<Counters> {
    let dir = format!("/proc/{pid}/task/{tid}");
    let status = fs::read_to_string(format!("{dir}/status"))?.replace(":\t", " ");
    let text = fs::read_to_string(format!("{dir}/schedstat"))
        .context("the kernel needs CONFIG_SCHED_INFO")?;
    let numbers: Vec<u64> = text
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    let number = |at: usize| {
        numbers
            .get(at)
            .copied()
            .with_context(|| format!("{text:?}"))
    };
    Ok(Counters {
        voluntary: cpu_stat::field(&status, "voluntary_ctxt_switches")?,
        involuntary: cpu_stat::field(&status, "nonvoluntary_ctxt_switches")?,
        run_ns: number(0)?,
        wait_ns: number(1)?,
        timeslices: number(2)?,
    })
}
