//! Differences of what the kernel counts and never resets.

use tracer_common::{
    log_linear::BUCKETS,
    maps::{Histogram as Counts, Slot, SlotCpu},
};

use crate::model::{
    histogram::Histogram,
    stats::{SchedStats, ThrottleStats},
};

/// One reading of all that a slot counts, CPUs added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sums over the CPUs.
    pub cpus: SlotCpu,
    /// The slot's own.
    pub slot: Slot,
}

impl Totals {
    /// Adds what one CPU counts.
    pub const fn add_cpu(&mut self, cpu: &SlotCpu) {
        let sum = &mut self.cpus;
        sum.voluntary = sum.voluntary.wrapping_add(cpu.voluntary);
        sum.involuntary = sum.involuntary.wrapping_add(cpu.involuntary);
        sum.cpu_time_ns = sum.cpu_time_ns.wrapping_add(cpu.cpu_time_ns);
        sum.wait_ns = sum.wait_ns.wrapping_add(cpu.wait_ns);
        sum.throttled_wait_ns = sum.throttled_wait_ns.wrapping_add(cpu.throttled_wait_ns);
        sum.preempted_by_own = sum.preempted_by_own.wrapping_add(cpu.preempted_by_own);
        sum.preempted_by_others = (sum.preempted_by_others).wrapping_add(cpu.preempted_by_others);
        sum.wait_own_ns = sum.wait_own_ns.wrapping_add(cpu.wait_own_ns);
        sum.wait_others_ns = sum.wait_others_ns.wrapping_add(cpu.wait_others_ns);
    }

    /// Scheduling since `before`. A count that is smaller than before (read while it was written)
    /// counts as no growth; the next reading has it.
    pub fn sched_since(&self, before: &Self) -> SchedStats {
        let (now, then) = (&self.cpus, &before.cpus);
        SchedStats {
            voluntary: now.voluntary.saturating_sub(then.voluntary),
            involuntary: now.involuntary.saturating_sub(then.involuntary),
            cpu_time_ns: now.cpu_time_ns.saturating_sub(then.cpu_time_ns),
            wait_ns: now.wait_ns.saturating_sub(then.wait_ns),
            throttled_wait_ns: now.throttled_wait_ns.saturating_sub(then.throttled_wait_ns),
            ancestor_wait_ns: self
                .slot
                .ancestor_wait_ns
                .saturating_sub(before.slot.ancestor_wait_ns),
            wait_own_ns: now.wait_own_ns.saturating_sub(then.wait_own_ns),
            wait_others_ns: now.wait_others_ns.saturating_sub(then.wait_others_ns),
            preempted_by_own: now.preempted_by_own.wrapping_sub(then.preempted_by_own),
            preempted_by_others: (now.preempted_by_others).wrapping_sub(then.preempted_by_others),
            threads: None,
            threads_ran: 0,
            peaks: None,
        }
    }

    /// Throttling since `before`.
    pub fn throttle_since(&self, before: &Self) -> ThrottleStats {
        let (now, then) = (&self.slot, &before.slot);
        ThrottleStats {
            summed_ns: now.throttled_ns.saturating_sub(then.throttled_ns),
            frozen_ns: Some(now.frozen_ns.saturating_sub(then.frozen_ns)),
            intervals: now
                .throttled_intervals
                .saturating_sub(then.throttled_intervals),
            periods: now.periods.saturating_sub(then.periods),
            throttled_periods: now.throttled_periods.saturating_sub(then.throttled_periods),
            unseen_ns: 0,
            burst: None,
            burn: None,
        }
    }
}

/// The values of the interval between two readings of a histogram, whose counts wrap.
pub fn histogram_since(now: &Counts, before: &Counts) -> Histogram {
    let mut histogram = Histogram::default();
    for bucket in 0..BUCKETS {
        histogram.add(bucket, u64::from(now[bucket].wrapping_sub(before[bucket])));
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_wrap_are_differences_all_the_same() {
        let (mut before, mut now) = ([0u32; BUCKETS], [0u32; BUCKETS]);
        before[7] = u32::MAX - 1;
        now[7] = 3;
        let histogram = histogram_since(&now, &before);
        assert_eq!(histogram.iter().collect::<Vec<_>>(), [(7, 5)]);
    }

    #[test]
    fn cpus_add_up_and_differences_are_of_one_interval() {
        let cpu = SlotCpu {
            voluntary: 2,
            preempted_by_own: u32::MAX,
            wait_ns: 50,
            ..SlotCpu::default()
        };
        let mut before = Totals::default();
        before.add_cpu(&cpu);
        let mut now = before;
        now.add_cpu(&cpu);
        assert_eq!(now.cpus.voluntary, 4);
        let sched = now.sched_since(&before);
        assert_eq!((sched.voluntary, sched.wait_ns), (2, 50));
        assert_eq!(sched.preempted_by_own, u32::MAX, "counts wrap");
        let mut back = before.sched_since(&now);
        back.preempted_by_own = 0;
        assert_eq!(back, SchedStats::default());
    }
}
