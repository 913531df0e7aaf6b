//! What the rules for CPU limits look at: the limit, the widest pool, and how much the limit bit.

use super::{Observation, Thresholds, words};
use crate::model::{
    finding::{Evidence, Severity},
    limits::CpuLimit,
    runtime::{Parallelism, ProcessFacts, Runtime},
    stats::QuotaBurn,
};

/// Share of a limit above it that a container has to use for the limit's effects to be of its doing.
const OWN_PART: f64 = 0.5;
/// Share of the CPU time of a container's busiest process from which on another is at work, too: a wide pool
/// that does nothing beside it has nothing to do with how the limit is used. Many that share the work
/// evenly are all at work.
const PART: f64 = 0.25;

/// An interval of a container that has a CPU limit.
#[derive(Clone, Copy, Debug)]
pub struct UnderLimit<'a> {
    observation: &'a Observation<'a>,
    /// The smallest limit.
    pub limit: &'a CpuLimit,
    /// The pool of all processes that computes with the most threads.
    pub pool: Option<Pool<'a>>,
    /// Whether the processes have been asked for their pools.
    pub asked: bool,
    /// How much of the time the limit bit: periods that ended throttled of all periods where the
    /// limit is its own, and in any case the share of the time in which it was frozen.
    pub throttled: f64,
    /// CPU time used, in CPUs.
    pub cpus_used: f64,
}

/// A pool of threads, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    /// The process.
    pub process: &'a ProcessFacts,
    /// Its runtime.
    pub runtime: &'a Runtime,
    /// The pool.
    pub pool: &'a Parallelism,
    /// Threads that compute in it at once.
    pub threads: u64,
}

impl<'a> UnderLimit<'a> {
    /// `None` without a limit.
    pub fn of(observation: &'a Observation<'a>) -> Option<Self> {
        let throttle = &observation.stats.throttle;
        let periods = throttle.throttled_periods as f64 / throttle.periods.max(1) as f64;
        Some(Self {
            observation,
            limit: observation.cpu_limit?,
            pool: widest_pool(observation.processes.unwrap_or_default()),
            asked: observation.processes.is_some(),
            throttled: periods.max(frozen_ratio(observation)),
            cpus_used: observation.cpus_used(),
        })
    }

    /// Share of the limit that is used by all that it holds for.
    pub fn limit_used(&self) -> f64 {
        self.limit_cpus_used() / self.limit.cpus
    }

    /// CPUs that all that it holds for used.
    pub fn limit_cpus_used(&self) -> f64 {
        let all = self.observation.limit_cpus_used;
        all.map_or(self.cpus_used, |all| all.max(self.cpus_used))
    }

    /// Share of the limit that is used by this container.
    pub fn used(&self) -> f64 {
        self.cpus_used / self.limit.cpus
    }

    /// Whether it is this container that uses up the limit: where the limit is that of a cgroup
    /// above, it can be others in there, and this one only stands still with them.
    pub fn is_its_doing(&self) -> bool {
        self.limit.own || self.used() >= OWN_PART
    }

    /// How much the limit bit, in words. Of periods only where they say more than the time does: a
    /// limit above it has none of this container's.
    pub fn harm(&self) -> String {
        let stood_still = format!(
            "it stood still for {} of the time",
            words::percent(self.frozen())
        );
        let lasted = self.burn().map_or_else(String::new, |burn| {
            let lasted = words::milliseconds(burn.mean_ns());
            format!("; where the quota was used up it had lasted {lasted}")
        });
        if self.throttled > self.frozen() {
            let periods = words::percent(self.throttled);
            format!("{periods} of the periods ended throttled, and {stood_still}{lasted}")
        } else {
            stood_still + &lasted
        }
    }

    /// How long the quota lasted, in those periods in which it was used up.
    fn burn(&self) -> Option<QuotaBurn> {
        self.observation.stats.throttle.burn
    }

    /// Share of the time in which no thread could run because of a limit.
    pub fn frozen(&self) -> f64 {
        frozen_ratio(self.observation)
    }

    /// How much the limit took: the time in which it was frozen as a share of all time, or the time
    /// that its threads were held up as a share of the time that they ran, whichever is more. Periods
    /// that end throttled just before their end cost nothing and are not in it.
    pub fn lost(&self) -> f64 {
        let sched = &self.observation.stats.sched;
        let held_up = sched.throttled_wait_ns as f64 / sched.cpu_time_ns.max(1) as f64;
        self.frozen().max(held_up)
    }

    /// The pool, if it is wider than the limit has room for. Two threads are never too many: Go's
    /// own default is never below two, so that garbage collection and the program can run beside
    /// each other.
    pub fn too_wide(&self, thresholds: &Thresholds) -> Option<Pool<'a>> {
        let least = self.limit.cpus * thresholds.oversubscription_ratio;
        self.pool
            .filter(|pool| pool.threads > self.whole_cpus().max(2) && pool.threads as f64 >= least)
    }

    /// CPUs that the limit has room for, in whole threads: rounded up, since a thread less could not
    /// use what the limit allows.
    pub fn whole_cpus(&self) -> u64 {
        (self.limit.cpus.ceil() as u64).max(1)
    }

    /// Standing still for half of the time is critical.
    pub fn severity(&self) -> Severity {
        if self.frozen() >= 0.5 {
            Severity::Critical
        } else {
            Severity::Warning
        }
    }

    /// The numbers that all of these findings rest on.
    pub fn evidence(&self) -> Vec<(&'static str, Evidence)> {
        let throttle = &self.observation.stats.throttle;
        let count = |name, value| (name, Evidence::Count(value));
        let burn = self.burn().into_iter().flat_map(|burn| {
            [
                count("quota_lasts_ns", burn.mean_ns()),
                ("quota_burning_cpus", Evidence::Number(burn.mean_cpus())),
            ]
        });
        let mut evidence = vec![
            ("cpu_limit_cpus", Evidence::Number(self.limit.cpus)),
            (
                "cpu_limit_cgroup",
                Evidence::Text(self.limit.cgroup.clone()),
            ),
            ("cpus_used", Evidence::Number(self.cpus_used)),
            ("throttled_ratio", Evidence::Number(self.throttled)),
            count("throttled_periods", throttle.throttled_periods),
            count("periods", throttle.periods),
            count("frozen_ns", throttle.frozen_ns.unwrap_or(0)),
            count("throttled_summed_ns", throttle.summed_ns),
        ];
        evidence.extend(burn);
        evidence
    }
}

/// 0 where only sums of throttled time are known.
fn frozen_ratio(observation: &Observation<'_>) -> f64 {
    let stats = observation.stats;
    stats.throttle.frozen_ns.unwrap_or(0) as f64 / stats.interval_ns.max(1) as f64
}

fn widest_pool(processes: &[ProcessFacts]) -> Option<Pool<'_>> {
    let works = |process: &&ProcessFacts| process.cpu_share.is_none_or(|share| share >= PART);
    let runtimes = processes.iter().filter(works).flat_map(|process| {
        let runtimes = process.runtimes.iter();
        runtimes.map(move |runtime| (process, runtime))
    });
    runtimes
        .flat_map(|(process, runtime)| {
            let computing = runtime.pools.iter().filter(|pool| pool.computes);
            computing.filter_map(move |pool| {
                let threads = *pool.threads.value()?;
                // Nobody computes with more threads than there are, whatever a setting says. Go makes
                // its own as they are needed.
                let most = if pool.threads.is_exact() {
                    u64::MAX
                } else {
                    process.threads.max(1)
                };
                Some(Pool {
                    process,
                    runtime,
                    pool,
                    threads: threads.min(most),
                })
            })
        })
        .max_by_key(|pool| pool.threads)
}
