//! How long quotas last: throttled intervals put together to the periods in which they began.
//!
//! Each CPU of a cgroup that has used up its quota stands still in an interval of its own. The last of
//! a period to begin is where the quota is gone; who began one had burned of it.

use std::collections::HashMap;

use crate::{
    events::Interval,
    model::{identity::CgroupKey, stats::QuotaBurn},
};

/// Periods of a container that are put together at a time; an interval can be told late.
const OPEN: usize = 4;

/// The periods of all containers since the last reading.
#[derive(Debug, Default)]
pub struct QuotaBurns {
    open: HashMap<CgroupKey, Vec<Period>>,
    done: HashMap<CgroupKey, QuotaBurn>,
}

/// A period of one quota.
#[derive(Debug)]
struct Period {
    quota: CgroupKey,
    /// Monotonic time in nanoseconds.
    began_ns: u64,
    length_ns: u64,
    /// From its begin to that of the last interval that began in it, in nanoseconds.
    lasted_ns: u64,
    /// CPUs that stood still, with the threads that did so there.
    cpus: Vec<(u32, u32)>,
}

impl Period {
    /// Whether an interval that began in a period at `began_ns` belongs to this one. The begin of one
    /// period is told by each interval with the inaccuracy of two clocks.
    const fn is(&self, quota: CgroupKey, began_ns: u64) -> bool {
        self.quota.id == quota.id
            && self.quota.hierarchy == quota.hierarchy
            && self.began_ns.abs_diff(began_ns) < self.length_ns / 2
    }

    fn add_to(&self, sum: &mut QuotaBurn) {
        let threads = self.cpus.iter().map(|&(_, threads)| u64::from(threads));
        *sum = sum.and(QuotaBurn {
            periods: 1,
            summed_ns: self.lasted_ns,
            shortest_ns: self.lasted_ns,
            cpus: self.cpus.len() as u64,
            threads: threads.sum(),
        });
    }
}

impl QuotaBurns {
    /// Takes a throttled interval of a container.
    pub fn add(&mut self, container: CgroupKey, interval: &Interval) {
        let Some(burn_ns) = interval.burn_ns else {
            return;
        };
        let start_ns = interval.monotonic_ns.saturating_sub(interval.duration_ns);
        let began_ns = start_ns.saturating_sub(burn_ns);
        let open = self.open.entry(container).or_default();
        let known = open
            .iter_mut()
            .find(|period| period.is(interval.quota_cgroup, began_ns));
        let Some(period) = known else {
            if open.len() == OPEN {
                let oldest = open.remove(0);
                oldest.add_to(self.done.entry(container).or_default());
            }
            open.push(Period {
                quota: interval.quota_cgroup,
                began_ns,
                length_ns: interval.period_ns,
                lasted_ns: burn_ns,
                cpus: vec![(interval.cpu, interval.threads)],
            });
            return;
        };
        period.lasted_ns = period.lasted_ns.max(burn_ns);
        match (period.cpus.iter_mut()).find(|(cpu, _)| *cpu == interval.cpu) {
            Some((_, threads)) => *threads = (*threads).max(interval.threads),
            None => period.cpus.push((interval.cpu, interval.threads)),
        }
    }

    /// What has come to an end by `now_ns`, by container, and is not told again.
    pub fn take(&mut self, now_ns: u64) -> HashMap<CgroupKey, QuotaBurn> {
        let mut done = std::mem::take(&mut self.done);
        self.open.retain(|&container, open| {
            // The interval of one may last to the end of the next.
            let is_over = |period: &Period| {
                let length = period.length_ns.saturating_mul(2);
                period.began_ns.saturating_add(length) < now_ns
            };
            for period in open.iter().filter(|period| is_over(period)) {
                period.add_to(done.entry(container).or_default());
            }
            open.retain(|period| !is_over(period));
            !open.is_empty()
        });
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const CONTAINER: CgroupKey = CgroupKey::new(1, 7);

    /// On a CPU from so many ms after the start of a period of 100 ms, at so many ms, to its end.
    fn interval(period_ms: u64, burn_ms: u64, cpu: u32, threads: u32) -> Interval {
        Interval {
            monotonic_ns: (period_ms + 100) * MS,
            quota_cgroup: CONTAINER,
            held_cgroup: None,
            duration_ns: (100 - burn_ms) * MS,
            quota_ns: Some(20 * MS),
            period_ns: 100 * MS,
            burn_ns: Some(burn_ms * MS),
            cpu,
            threads,
            source: "fexit",
        }
    }

    #[test]
    fn the_last_to_stop_is_where_the_quota_is_gone() {
        let mut burns = QuotaBurns::default();
        for (burn, cpu, threads) in [(9, 0, 2), (11, 1, 3), (11, 1, 1)] {
            burns.add(CONTAINER, &interval(1_000, burn, cpu, threads));
        }
        burns.add(CONTAINER, &interval(1_100, 20, 0, 5));
        // The second one may still get an interval.
        let first = QuotaBurn {
            periods: 1,
            summed_ns: 11 * MS,
            shortest_ns: 11 * MS,
            cpus: 2,
            threads: 5,
        };
        assert_eq!(burns.take(1_250 * MS)[&CONTAINER], first);
        assert!(burns.take(1_250 * MS).is_empty());
        let late = interval(1_100, 23, 1, 0);
        burns.add(CONTAINER, &late);
        let second = burns.take(2_000 * MS)[&CONTAINER];
        assert_eq!(
            (second.periods, second.summed_ns, second.cpus),
            (1, 23 * MS, 2)
        );
        let both = first.and(second);
        assert_eq!(both.mean_ns(), 17 * MS);
        assert_eq!(both.shortest_ns, 11 * MS);
        assert!((both.mean_cpus() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn quotas_and_late_intervals_are_kept_apart() {
        let mut burns = QuotaBurns::default();
        let mut of_pod = interval(1_000, 40, 0, 1);
        of_pod.quota_cgroup = CgroupKey::new(1, 3);
        burns.add(CONTAINER, &of_pod);
        for period in 0..20 {
            burns.add(CONTAINER, &interval(1_000 + 100 * period, 10, 0, 1));
            assert!(burns.open[&CONTAINER].len() <= OPEN);
        }
        let mut unknown = interval(9_000, 10, 0, 1);
        unknown.burn_ns = None;
        burns.add(CONTAINER, &unknown);
        let all = burns.take(9_000 * MS)[&CONTAINER];
        assert_eq!((all.periods, all.summed_ns), (21, 240 * MS));
    }
}
