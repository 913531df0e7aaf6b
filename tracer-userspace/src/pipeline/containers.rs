//! What containers did in an interval: slots added up by container, with their memory.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use rustix::time::ClockId;
use tracing::debug;

use super::slots::{Activity, SlotTable, WaitedFor};
use crate::{
    analyse::{quota_burn::QuotaBurns, throttle_audit::ThrottleAudit},
    events::Interval,
    identity::index::CgroupIndex,
    kernel::{
        cgroup_files::{ControllerFiles, CpuStat},
        loader::Tracer,
    },
    model::{
        histogram::Histogram,
        identity::{CgroupKey, Level},
        stats::{
            Burst, ContainerStats, IntervalHistograms, MemoryStats, Neighbour, SchedStats,
            ThrottleStats,
        },
    },
};

/// Neighbours that are told.
const NEIGHBOURS: usize = 5;

/// What is remembered of each container from interval to interval.
#[derive(Default)]
pub struct Containers {
    known: HashMap<CgroupKey, Known>,
    /// Throttled time, in nanoseconds, that the kernel's account has and ours has not.
    pub unseen_throttle_ns: u64,
    burns: QuotaBurns,
}

#[derive(Default)]
struct Known {
    memory_bytes: Option<u64>,
    /// Readings of `cpu.stat`, where throttling comes from there.
    cpu_stats: HashMap<CgroupKey, CpuStat>,
    audits: HashMap<CgroupKey, ThrottleAudit>,
    /// What was used beyond quotas when it was last read.
    bursts: HashMap<CgroupKey, Burst>,
}

/// Where to read what the programs do not tell.
pub struct Files {
    /// Of the memory controller.
    pub memory: Option<ControllerFiles>,
    /// Of the hierarchy of the slots.
    pub cpu: Option<ControllerFiles>,
    /// Whether throttling comes from these files, not from the programs.
    pub throttling: bool,
}

impl Containers {
    /// A container is gone.
    pub fn gone(&mut self, key: CgroupKey) {
        self.known.remove(&key);
    }

    /// The run begins: what containers were throttled before belongs to no interval.
    pub fn start(&mut self, index: &CgroupIndex, files: &Files) {
        if !files.throttling {
            return;
        }
        for (key, _) in index.live_owners() {
            if let Some(now) = cpu_stat(key, index, files) {
                let known = self.known.entry(key).or_default();
                known.cpu_stats.insert(key, now);
            }
        }
    }

    /// A quota held somebody up.
    pub fn throttled(&mut self, interval: &Interval, index: &CgroupIndex) {
        // A quota inside a container is not the container's.
        if index.owner(interval.quota_cgroup) == interval.quota_cgroup {
            let held = interval.held_cgroup.unwrap_or(interval.quota_cgroup);
            self.burns.add(index.owner(held), interval);
        }
    }

    /// Reads all slots. Containers that did nothing are left out; the others come in the order of
    /// their paths.
    pub fn read(
        &mut self,
        slots: &mut SlotTable,
        tracer: &Tracer,
        index: &CgroupIndex,
        files: &Files,
        interval_ns: u64,
    ) -> Vec<(CgroupKey, ContainerStats)> {
        let mut sums: HashMap<CgroupKey, ContainerStats> = HashMap::new();
        let mut take = |owner: CgroupKey, activity: Activity| {
            sums.entry(owner)
                .and_modify(|sum| add(sum, &activity))
                .or_insert_with(|| ContainerStats {
                    container: super::compose::identity_of(index, Some(owner)),
                    interval_ns,
                    sched: activity.sched,
                    throttle: activity.throttle,
                    memory: None,
                    histograms: activity.histograms,
                    neighbours: Vec::new(),
                });
        };
        let mut read = HashSet::new();
        slots.read(tracer, |mut activity| {
            let owner = index.owner(activity.cgroup);
            let known = self.known.entry(owner).or_default();
            if owner != activity.cgroup {
                activity.throttle = activity.throttle.of_nested();
                activity.histograms.throttled_interval = Histogram::default();
            } else if files.throttling {
                read.insert(activity.cgroup);
                activity.throttle = throttling(known, activity.cgroup, index, files);
            } else if activity.throttle.periods > 0
                && let Some(kernel) = cpu_stat(activity.cgroup, index, files)
            {
                let unseen = audit(known, &activity, kernel);
                self.unseen_throttle_ns += unseen;
                activity.throttle.unseen_ns = unseen;
                let is_new = index.is_born_in_run(activity.cgroup);
                activity.throttle.burst = burst(known, activity.cgroup, is_new, kernel);
            }
            take(owner, activity);
        });
        // A period can end after the last switch of a cgroup; only its file tells.
        for (&owner, known) in &mut self.known {
            let quiet: Vec<CgroupKey> = known.cpu_stats.keys().copied().collect();
            for cgroup in quiet.into_iter().filter(|cgroup| !read.contains(cgroup)) {
                let throttle = throttling(known, cgroup, index, files);
                if throttle != ThrottleStats::default() {
                    take(owner, Activity::of_throttling(cgroup, throttle));
                }
            }
        }
        let waited = neighbours(slots.read_neighbours(tracer), index, |running| {
            Some(sums.get(&running)?.sched.cpu_time_ns)
        });
        for (owner, neighbours) in waited {
            if let Some(stats) = sums.get_mut(&owner) {
                stats.neighbours = neighbours;
            }
        }
        let mut burns = self
            .burns
            .take(super::compose::clock_ns(ClockId::Monotonic));
        let mut all: Vec<(CgroupKey, ContainerStats)> = sums
            .into_iter()
            .map(|(owner, mut stats)| {
                stats.throttle.burn = burns.remove(&owner);
                let known = self.known.entry(owner).or_default();
                stats.memory = memory(known, &stats, files);
                stats.sched.threads = files
                    .cpu
                    .as_ref()
                    .and_then(|files| threads(files, owner, index));
                (owner, stats)
            })
            .collect();
        all.sort_by(|(_, a), (_, b)| a.container.cgroup_path.cmp(&b.container.cgroup_path));
        all
    }
}

/// The worst neighbours of each container, the nested cgroups of both added up.
fn neighbours(
    waited: Vec<WaitedFor>,
    index: &CgroupIndex,
    cpu_time_ns: impl Fn(CgroupKey) -> Option<u64>,
) -> HashMap<CgroupKey, Vec<Neighbour>> {
    let mut sums: HashMap<CgroupKey, HashMap<Option<CgroupKey>, u64>> = HashMap::new();
    for pair in waited {
        let owner = index.owner(pair.waiting);
        let running = pair.running.map(|running| index.owner(running));
        if running != Some(owner) {
            *sums.entry(owner).or_default().entry(running).or_default() += pair.ns;
        }
    }
    let worst = |sums: HashMap<Option<CgroupKey>, u64>| {
        let mut all: Vec<_> = sums.into_iter().collect();
        all.sort_unstable_by_key(|&(running, ns)| (Reverse(ns), running));
        all.truncate(NEIGHBOURS);
        all.into_iter()
            .map(|(running, wait_ns)| Neighbour {
                container: super::compose::identity_of(index, running),
                wait_ns,
                cpu_time_ns: running.and_then(&cpu_time_ns),
            })
            .collect()
    };
    sums.into_iter()
        .map(|(owner, sums)| (owner, worst(sums)))
        .collect()
}

/// What `cpu.stat` has grown by. A cgroup that was not there at the start began at 0.
fn throttling(
    known: &mut Known,
    cgroup: CgroupKey,
    index: &CgroupIndex,
    files: &Files,
) -> ThrottleStats {
    let Some(now) = cpu_stat(cgroup, index, files) else {
        return ThrottleStats::default();
    };
    let before = known.cpu_stats.insert(cgroup, now).unwrap_or_default();
    if now == before {
        return ThrottleStats::default();
    }
    ThrottleStats {
        burst: now
            .burst
            .map(|burst| burst.since(before.burst.unwrap_or_default())),
        summed_ns: now.throttled_ns.saturating_sub(before.throttled_ns),
        periods: now.periods.saturating_sub(before.periods),
        throttled_periods: now
            .throttled_periods
            .saturating_sub(before.throttled_periods),
        ..ThrottleStats::default()
    }
}

fn cpu_stat(cgroup: CgroupKey, index: &CgroupIndex, files: &Files) -> Option<CpuStat> {
    let identity = index.identity(cgroup)?;
    files
        .cpu
        .as_ref()?
        .cpu_stat(identity.cgroup_path.as_bytes())
}

/// What was used beyond the quota since the last reading. Of a cgroup that was there before the run
/// the first one belongs to no interval.
fn burst(known: &mut Known, cgroup: CgroupKey, is_new: bool, kernel: CpuStat) -> Option<Burst> {
    let now = kernel.burst?;
    let before = known.bursts.insert(cgroup, now);
    let before = before.or_else(|| is_new.then(Burst::default))?;
    Some(now.since(before))
}

fn audit(known: &mut Known, activity: &Activity, kernel: CpuStat) -> u64 {
    let audit = known.audits.entry(activity.cgroup).or_default();
    let unseen = audit.reading(kernel.throttled_ns, activity.throttled_total_ns);
    if unseen > 0 {
        debug!(
            cgroup = activity.cgroup.id,
            unseen, "throttled time that no program saw"
        );
    }
    unseen
}

fn add(sum: &mut ContainerStats, activity: &Activity) {
    let (a, b): (&mut SchedStats, &SchedStats) = (&mut sum.sched, &activity.sched);
    a.voluntary += b.voluntary;
    a.involuntary += b.involuntary;
    a.cpu_time_ns += b.cpu_time_ns;
    a.wait_ns += b.wait_ns;
    a.throttled_wait_ns += b.throttled_wait_ns;
    a.ancestor_wait_ns += b.ancestor_wait_ns;
    a.wait_own_ns += b.wait_own_ns;
    a.wait_others_ns += b.wait_others_ns;
    a.preempted_by_own = a.preempted_by_own.saturating_add(b.preempted_by_own);
    a.preempted_by_others = (a.preempted_by_others).saturating_add(b.preempted_by_others);
    a.threads_ran += b.threads_ran;
    a.peaks = match (a.peaks, b.peaks) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    };
    let (a, b): (&mut ThrottleStats, &ThrottleStats) = (&mut sum.throttle, &activity.throttle);
    a.summed_ns += b.summed_ns;
    a.frozen_ns = a.frozen_ns.zip(b.frozen_ns).map(|(a, b)| a + b);
    a.intervals += b.intervals;
    a.periods += b.periods;
    a.throttled_periods += b.throttled_periods;
    a.unseen_ns += b.unseen_ns;
    a.burst = match (a.burst, b.burst) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    };
    let (a, b): (&mut IntervalHistograms, _) = (&mut sum.histograms, &activity.histograms);
    a.run_queue_wait.merge(&b.run_queue_wait);
    a.on_cpu_slice.merge(&b.on_cpu_slice);
    a.throttled_interval.merge(&b.throttled_interval);
    a.frozen_time.merge(&b.frozen_time);
}

fn memory(known: &mut Known, stats: &ContainerStats, files: &Files) -> Option<MemoryStats> {
    if stats.container.level == Level::Root {
        return None;
    }
    let reading = files
        .memory
        .as_ref()?
        .memory(stats.container.cgroup_path.as_bytes())?;
    let seconds = stats.interval_ns as f64 / 1e9;
    let growth = known
        .memory_bytes
        .filter(|_| seconds > 0.0)
        .map(|before| (reading.current_bytes as f64 - before as f64) / seconds);
    known.memory_bytes = Some(reading.current_bytes);
    Some(MemoryStats {
        reading,
        growth_bytes_per_second: growth,
    })
}

/// Threads of a container, nested cgroups included.
fn threads(files: &ControllerFiles, owner: CgroupKey, index: &CgroupIndex) -> Option<u64> {
    let mut sum = None;
    for member in index.members(owner) {
        if index.is_live(member)
            && let Some(identity) = index.identity(member)
            && let Some(threads) = files.threads(identity.cgroup_path.as_bytes())
        {
            sum = Some(sum.unwrap_or(0) + threads);
        }
    }
    sum
}
