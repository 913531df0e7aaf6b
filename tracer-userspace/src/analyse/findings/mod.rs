//! What is wrong with a container, and what to set: rules over what an interval tells.
//!
//! One rule a file, each a pure function of an [`Observation`]. A rule says [`Verdict::Holds`]
//! above its threshold and [`Verdict::Clear`] clearly below it; [`Verdict::Between`] lets what is
//! begun go on and begins nothing. [`tracker`] makes beginnings and ends of it. The thresholds and
//! their reasons are in docs/findings.md.

mod cpu;
mod cpu_limit_too_low;
mod cpu_oversubscription;
mod gomemlimit;
pub mod history;
mod memory_leak;
mod memory_near_limit;
mod memory_spike;
pub mod noisy_neighbour;
pub mod oom_verdict;
mod page_cache;
mod quota_period;
pub mod restart_loop;
pub mod slope;
#[cfg(test)]
mod tests;
pub mod thresholds;
pub mod tracker;
mod words;

use history::MemoryHistory;
pub use thresholds::Thresholds;

use crate::model::{
    finding::{Finding, FindingKind},
    limits::CpuLimit,
    runtime::{Fact, ProcessFacts, Runtime},
    stats::ContainerStats,
};

/// What is known of a container at an interval's end.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// What it did.
    pub stats: &'a ContainerStats,
    /// The smallest CPU limit that holds for it.
    pub cpu_limit: Option<&'a CpuLimit>,
    /// CPUs that everything below the cgroup with that limit used, where that is not its own.
    pub limit_cpus_used: Option<f64>,
    /// Its memory limit in bytes.
    pub memory_limit: Option<u64>,
    /// Its memory over the last minutes.
    pub history: &'a MemoryHistory,
    /// What its processes tell; `None` where they have not been asked yet.
    pub processes: Option<&'a [ProcessFacts]>,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is so.
    Holds(Box<Finding>),
    /// Neither clearly so nor clearly not.
    Between,
    /// It is not so.
    Clear,
}

/// A rule and how long it must hold, and not hold, to count.
struct Rule {
    kind: FindingKind,
    judge: fn(&Observation<'_>, &Thresholds) -> Verdict,
    /// Whether it takes what processes tell.
    asks: bool,
    /// Intervals in a row to begin.
    begin_after: u32,
    /// Intervals in a row to end.
    end_after: u32,
}

/// Which rules are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those that take what the kernel tells alone.
    Kernel,
    /// Those that take what processes tell, too.
    Processes,
}

/// All rules. Those that look at a single interval must hold in two: one burst is no state.
const RULES: [Rule; 9] = [
    asking(
        FindingKind::CpuOversubscription,
        cpu_oversubscription::judge,
        2,
    ),
    asking(FindingKind::CpuLimitTooLow, cpu_limit_too_low::judge, 2),
    asking(
        FindingKind::CpuLimitQuotaPeriodMismatch,
        quota_period::judge,
        2,
    ),
    rule(FindingKind::NoisyNeighbour, noisy_neighbour::judge, 2),
    rule(FindingKind::MemoryNearLimit, memory_near_limit::judge, 1),
    rule(FindingKind::MemoryLeakSuspected, memory_leak::judge, 1),
    rule(FindingKind::MemorySpike, memory_spike::judge, 1),
    asking(
        FindingKind::GomemlimitMissingOrAboveLimit,
        gomemlimit::judge,
        2,
    ),
    rule(FindingKind::PageCacheNotALeak, page_cache::judge, 2),
];

const fn rule(
    kind: FindingKind,
    judge: fn(&Observation<'_>, &Thresholds) -> Verdict,
    begin_after: u32,
) -> Rule {
    Rule {
        kind,
        judge,
        asks: false,
        begin_after,
        end_after: 3,
    }
}

const fn asking(
    kind: FindingKind,
    judge: fn(&Observation<'_>, &Thresholds) -> Verdict,
    begin_after: u32,
) -> Rule {
    Rule {
        asks: true,
        ..rule(kind, judge, begin_after)
    }
}

impl<'a> Observation<'a> {
    /// CPU time used, in CPUs.
    fn cpus_used(&self) -> f64 {
        self.stats.sched.cpu_time_ns as f64 / self.stats.interval_ns.max(1) as f64
    }

    /// The Go programs, with their memory limits.
    fn go_memory_limits(
        &self,
    ) -> impl Iterator<Item = (&'a ProcessFacts, &'a Runtime, &'a Fact<Option<u64>>)> + use<'a>
    {
        let processes = self.processes.unwrap_or_default();
        processes.iter().flat_map(|process| {
            process
                .runtimes
                .iter()
                .filter(|runtime| runtime.go.is_some())
                .filter_map(move |runtime| Some((process, runtime, runtime.memory_limit.as_ref()?)))
        })
    }
}
