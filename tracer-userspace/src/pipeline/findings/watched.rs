//! A container that is watched, and the interval of it that is to be judged.

use super::{looks::Request, processes::Processes};
use crate::{
    analyse::findings::{history::MemoryHistory, tracker::Tracker},
    identity::index::CgroupIndex,
    model::{
        identity::{CgroupKey, SharedIdentity},
        limits::{CpuLimit, MemorySample},
        stats::ContainerStats,
    },
};

/// Where only memory is the reason, so many times later: a memory limit does not change often.
const CALM: u64 = 10;
/// Share of the memory limit from which on processes are looked into for it.
const LARGE: f64 = 0.4;

#[derive(Default)]
pub(super) struct Watched {
    pub container: SharedIdentity,
    pub history: MemoryHistory,
    pub memory_limit: Option<u64>,
    /// Whether it had a CPU limit when it last did something.
    pub has_cpu_limit: bool,
    pub tracker: Tracker,
    pub processes: Processes,
    pub asked_at_ns: Option<u64>,
    /// Whether the last look that was asked for is still to come.
    pub awaited: bool,
    /// The interval that is judged when the look comes that it needs.
    pub put_off: Option<Box<PutOff>>,
    /// Whether it had an interval of its own since the last look.
    pub judged: bool,
}

/// An interval that is to be judged.
#[derive(Clone, Copy)]
pub(super) struct Interval<'a> {
    pub stats: &'a ContainerStats,
    pub cpu_limit: Option<&'a CpuLimit>,
    pub limit_cpus_used: Option<f64>,
    pub ended_ns: u64,
}

/// The same, kept until it is.
pub(super) struct PutOff {
    pub stats: ContainerStats,
    pub cpu_limit: Option<CpuLimit>,
    pub limit_cpus_used: Option<f64>,
    pub ended_ns: u64,
}

impl PutOff {
    pub const fn interval(&self) -> Interval<'_> {
        Interval {
            stats: &self.stats,
            cpu_limit: self.cpu_limit.as_ref(),
            limit_cpus_used: self.limit_cpus_used,
            ended_ns: self.ended_ns,
        }
    }
}

impl Watched {
    /// Whether it is time for a look into its processes.
    pub fn wants_look(&self, interval: Interval<'_>, again_ns: u64) -> bool {
        let known = self.processes.facts().is_some_and(|all| !all.is_empty());
        let patience = if is_at_its_limit(interval.stats, interval.cpu_limit) {
            again_ns
        } else if self.is_large() || known {
            // What is known of processes must not outlive them.
            again_ns.saturating_mul(CALM)
        } else {
            return false;
        };
        let since = |at| interval.ended_ns.saturating_sub(at);
        !self.awaited && self.asked_at_ns.is_none_or(|at| since(at) >= patience)
    }

    pub fn request(
        &self,
        owner: CgroupKey,
        limit: Option<CpuLimit>,
        index: &CgroupIndex,
    ) -> Request {
        // Nested cgroups included.
        let cgroups = (index.members(owner))
            .filter(|member| index.is_live(*member))
            .filter_map(|member| Some(index.identity(member)?.cgroup_path.clone()));
        Request {
            key: owner,
            cgroups: cgroups.collect(),
            cpu_limit: limit,
            first: self.processes.facts().is_none(),
        }
    }

    /// Whether memory is used to a good part, so that what the processes know of the limit matters.
    pub fn is_large(&self) -> bool {
        let held = self.history.last().map_or(0, MemorySample::held_bytes);
        let limit = self.memory_limit;
        limit.is_some_and(|limit| held as f64 >= limit as f64 * LARGE)
    }
}

/// Whether the CPU limit bites or may soon, so that a look into the processes is worth its cost.
fn is_at_its_limit(stats: &ContainerStats, limit: Option<&CpuLimit>) -> bool {
    let used = stats.sched.cpu_time_ns as f64 / stats.interval_ns.max(1) as f64;
    limit.is_some_and(|limit| used >= limit.cpus / 2.0)
        || stats.throttle.throttled_periods > 0
        || stats.throttle.frozen_ns.is_some_and(|ns| ns > 0)
}
