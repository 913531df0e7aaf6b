//! What a container did in one interval.

use super::histogram::Histogram;
use super::identity::SharedIdentity;
use super::oom::MemoryReading;

/// Everything counted for one container in one interval. Counts are differences to the interval's
/// start.
#[derive(Clone, Debug)]
pub struct ContainerStats {
    /// Who.
    pub container: SharedIdentity,
    /// Length of the interval in nanoseconds.
    pub interval_ns: u64,
    /// Scheduling.
    pub sched: SchedStats,
    /// Throttling by the cgroup's own quota.
    pub throttle: ThrottleStats,
    /// Memory, where its cgroup has the controller.
    pub memory: Option<MemoryStats>,
    /// The four histograms of the interval.
    pub histograms: IntervalHistograms,
    /// For whom it waited longest, the worst first; a few.
    pub neighbours: Vec<Neighbour>,
}

/// Somebody whose threads ran while others waited.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Who.
    pub container: SharedIdentity,
    /// How long they were waited for, in nanoseconds.
    pub wait_ns: u64,
    /// CPU time that they used in the interval, in nanoseconds; `None` where they have no slot.
    pub cpu_time_ns: Option<u64>,
}

/// Scheduling in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedStats {
    /// Voluntary context switches.
    pub voluntary: u64,
    /// Involuntary context switches.
    pub involuntary: u64,
    /// Time on CPUs in nanoseconds.
    pub cpu_time_ns: u64,
    /// Run-queue wait in nanoseconds, without throttled time.
    pub wait_ns: u64,
    /// Throttled part of the wait in nanoseconds.
    pub throttled_wait_ns: u64,
    /// Part of the throttled wait, in nanoseconds, that a quota above the container's own made.
    pub ancestor_wait_ns: u64,
    /// Part of `wait_ns`, in nanoseconds, in which the CPU ran other threads of the container.
    pub wait_own_ns: u64,
    /// Part of `wait_ns`, in nanoseconds, in which the CPU ran something else. What neither part has
    /// was spent waking an idle CPU up, or before the thread was moved.
    pub wait_others_ns: u64,
    /// Involuntary switches, not for the end of a quota, to another thread of the container.
    pub preempted_by_own: u32,
    /// The same to somebody else's thread.
    pub preempted_by_others: u32,
    /// Threads in the cgroup at the interval's end, where it could be read.
    pub threads: Option<u64>,
    /// Threads that ran, each counted once.
    pub threads_ran: u64,
    /// Most threads at a time, where it was looked.
    pub peaks: Option<ThreadPeaks>,
}

/// Most threads at a time, of those moments at which it was looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadPeaks {
    /// That ran.
    pub running: u32,
    /// That ran or wanted to; `None` where the kernel does not tell it.
    pub runnable: Option<u32>,
}

impl ThreadPeaks {
    /// Of two cgroups of a container: at least the larger one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            running: self.running.max(other.running),
            runnable: self.runnable.max(other.runnable),
        }
    }
}

impl SchedStats {
    /// Context switches for each second on a CPU; `None` where there was no time on one.
    pub fn switches_per_cpu_second(&self) -> Option<f64> {
        let switches = self.voluntary.saturating_add(self.involuntary);
        (self.cpu_time_ns > 0).then(|| switches as f64 / (self.cpu_time_ns as f64 / 1e9))
    }

    /// Threads that ran at a time, on average over `interval_ns`. Not a number for an interval
    /// without length.
    pub fn threads_running(&self, interval_ns: u64) -> f64 {
        self.cpu_time_ns as f64 / interval_ns as f64
    }

    /// Threads that ran or wanted to, on average over `interval_ns`: by Little's law the sum of
    /// their times on and waiting for a CPU, over the time. Waits count in the interval in which
    /// they end.
    pub fn threads_runnable(&self, interval_ns: u64) -> f64 {
        let waits = self.wait_ns.saturating_add(self.throttled_wait_ns);
        self.cpu_time_ns.saturating_add(waits) as f64 / interval_ns as f64
    }
}

/// Throttling in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleStats {
    /// Throttled time summed over CPUs in nanoseconds.
    pub summed_ns: u64,
    /// Wall-clock time in which no thread could run, in nanoseconds; `None` where only the kernel's
    /// sums are known (`cpu.stat`).
    pub frozen_ns: Option<u64>,
    /// Throttled intervals that ended.
    pub intervals: u64,
    /// Periods that passed.
    pub periods: u64,
    /// Periods with throttling.
    pub throttled_periods: u64,
    /// Throttled time, in nanoseconds, that the kernel's account has and ours has not.
    pub unseen_ns: u64,
    /// What it used beyond its quota, by the kernel's account; `None` where there is none of it.
    pub burst: Option<Burst>,
    /// How long the quotas lasted that held it up, in the periods of which that was seen.
    pub burn: Option<QuotaBurn>,
}

impl ThrottleStats {
    /// What of a nested cgroup's is its container's too: the time in which nothing could run. A quota in
    /// there is not the container's, and where it is (crun sets it a second time on the cgroup that it
    /// makes below the container's own) each moment would count twice.
    #[must_use]
    pub fn of_nested(self) -> Self {
        Self {
            frozen_ns: self.frozen_ns,
            ..Self::default()
        }
    }
}

/// How long a quota lasted and who burned it: sums over periods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaBurn {
    /// Periods.
    pub periods: u64,
    /// From each period's start to the last CPU's stop, in nanoseconds.
    pub summed_ns: u64,
    /// The shortest of them.
    pub shortest_ns: u64,
    /// CPUs that stood still.
    pub cpus: u64,
    /// Threads that stood still on them.
    pub threads: u64,
}

impl QuotaBurn {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.periods == 0 {
            return other;
        }
        Self {
            periods: self.periods.saturating_add(other.periods),
            summed_ns: self.summed_ns.saturating_add(other.summed_ns),
            shortest_ns: self.shortest_ns.min(other.shortest_ns),
            cpus: self.cpus.saturating_add(other.cpus),
            threads: self.threads.saturating_add(other.threads),
        }
    }

    /// Nanoseconds that the quota lasted, on average.
    pub fn mean_ns(self) -> u64 {
        self.summed_ns / self.periods.max(1)
    }

    /// CPUs that burned it, on average.
    pub fn mean_cpus(self) -> f64 {
        self.cpus as f64 / self.periods.max(1) as f64
    }

    /// Threads that stood still when it was gone, on average.
    pub fn mean_threads(self) -> f64 {
        self.threads as f64 / self.periods.max(1) as f64
    }
}

/// CPU time beyond a quota, out of what was left of earlier periods (`cpu.max.burst`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burst {
    /// Periods in which more than the quota was used.
    pub periods: u64,
    /// What was used beyond it, in nanoseconds.
    pub ns: u64,
}

impl Burst {
    /// What came since an earlier reading.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            periods: self.periods.saturating_sub(before.periods),
            ns: self.ns.saturating_sub(before.ns),
        }
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            periods: self.periods.saturating_add(other.periods),
            ns: self.ns.saturating_add(other.ns),
        }
    }
}

/// Memory at an interval's end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryStats {
    /// What the files say.
    pub reading: MemoryReading,
    /// Change of the usage over the interval in bytes a second; `None` at the first reading.
    pub growth_bytes_per_second: Option<f64>,
}

/// The histograms of one interval, values in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct IntervalHistograms {
    /// Run-queue wait without throttled time.
    pub run_queue_wait: Histogram,
    /// On-CPU slices.
    pub on_cpu_slice: Histogram,
    /// Throttled intervals.
    pub throttled_interval: Histogram,
    /// Frozen stretches.
    pub frozen_time: Histogram,
}

/// Which of the histograms; the names are those of reports and of the tags in `.hlog` files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// See [`IntervalHistograms::run_queue_wait`].
    RunQueueWait,
    /// See [`IntervalHistograms::on_cpu_slice`].
    OnCpuSlice,
    /// See [`IntervalHistograms::throttled_interval`].
    ThrottledInterval,
    /// See [`IntervalHistograms::frozen_time`].
    FrozenTime,
}

impl Metric {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 4] = [
        Self::RunQueueWait,
        Self::OnCpuSlice,
        Self::ThrottledInterval,
        Self::FrozenTime,
    ];

    /// Name in reports, JSON and tags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunQueueWait => "run_queue_wait",
            Self::OnCpuSlice => "on_cpu_slice",
            Self::ThrottledInterval => "throttled_interval",
            Self::FrozenTime => "frozen_time",
        }
    }

    /// Its histogram.
    pub const fn of(self, histograms: &IntervalHistograms) -> &Histogram {
        match self {
            Self::RunQueueWait => &histograms.run_queue_wait,
            Self::OnCpuSlice => &histograms.on_cpu_slice,
            Self::ThrottledInterval => &histograms.throttled_interval,
            Self::FrozenTime => &histograms.frozen_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_in_a_container_is_not_the_containers() {
        let nested = ThrottleStats {
            summed_ns: 5,
            frozen_ns: Some(3),
            intervals: 2,
            periods: 9,
            throttled_periods: 2,
            unseen_ns: 1,
            burst: Some(Burst { periods: 1, ns: 1 }),
            burn: None,
        };
        let expected = ThrottleStats {
            frozen_ns: Some(3),
            ..ThrottleStats::default()
        };
        assert_eq!(nested.of_nested(), expected);
    }
}
