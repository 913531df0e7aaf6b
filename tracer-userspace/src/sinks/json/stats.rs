//! `container_stats`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tracer_common::log_linear::lower_edge;

use super::fields::Fields;
use super::identity;
use crate::model::histogram::Histogram;
use crate::model::stats::{ContainerStats, MemoryStats, Neighbour, SchedStats, ThrottleStats};

/// Writes the event's own keys.
pub fn write<M: SerializeMap>(
    fields: &mut Fields<M>,
    stats: &ContainerStats,
) -> Result<(), M::Error> {
    identity::write(fields, &stats.container)?;
    fields.put("interval_ns", &stats.interval_ns)?;
    let histograms = &stats.histograms;
    let wait = &histograms.run_queue_wait;
    sched(fields, &stats.sched, stats.interval_ns, wait.count())?;
    fields.maybe("sched.run_queue.p50_ns", wait.quantile(0.5))?;
    fields.maybe("sched.run_queue.p90_ns", wait.quantile(0.9))?;
    fields.maybe("sched.run_queue.p99_ns", wait.quantile(0.99))?;
    fields.maybe("sched.run_queue.max_ns", wait.max())?;
    buckets(fields, "sched.run_queue.buckets", wait)?;
    let slice = &histograms.on_cpu_slice;
    fields.maybe("sched.on_cpu.p50_ns", slice.quantile(0.5))?;
    fields.maybe("sched.on_cpu.p99_ns", slice.quantile(0.99))?;
    fields.maybe("sched.on_cpu.max_ns", slice.max())?;
    buckets(fields, "sched.on_cpu.buckets", slice)?;
    throttle(fields, &stats.throttle)?;
    let throttled = &histograms.throttled_interval;
    fields.maybe("throttle.p50_ns", throttled.quantile(0.5))?;
    fields.maybe("throttle.p99_ns", throttled.quantile(0.99))?;
    fields.maybe("throttle.max_ns", throttled.max())?;
    buckets(fields, "throttle.buckets", throttled)?;
    buckets(fields, "throttle.frozen.buckets", &histograms.frozen_time)?;
    if !stats.neighbours.is_empty() {
        let neighbours: Vec<_> = stats.neighbours.iter().map(NeighbourFields).collect();
        fields.put("sched.run_queue.neighbours", &neighbours)?;
    }
    stats
        .memory
        .as_ref()
        .map_or(Ok(()), |memory| self::memory(fields, memory))
}

fn sched<M: SerializeMap>(
    fields: &mut Fields<M>,
    sched: &SchedStats,
    interval_ns: u64,
    waits: u64,
) -> Result<(), M::Error> {
    let per_second = |count: u64| count as f64 / (interval_ns as f64 / 1e9);
    fields.put("sched.context_switches.voluntary", &sched.voluntary)?;
    fields.put("sched.context_switches.involuntary", &sched.involuntary)?;
    fields.float(
        "sched.context_switches.voluntary_per_second",
        per_second(sched.voluntary),
    )?;
    fields.float(
        "sched.context_switches.involuntary_per_second",
        per_second(sched.involuntary),
    )?;
    if let Some(rate) = sched.switches_per_cpu_second() {
        fields.float("sched.context_switches.per_cpu_second", rate)?;
    }
    fields.put(
        "sched.context_switches.preempted_by_own",
        &sched.preempted_by_own,
    )?;
    fields.put(
        "sched.context_switches.preempted_by_others",
        &sched.preempted_by_others,
    )?;
    fields.put("sched.cpu_time_ns", &sched.cpu_time_ns)?;
    fields.maybe("sched.threads", sched.threads)?;
    fields.float("sched.threads_running", sched.threads_running(interval_ns))?;
    fields.float(
        "sched.threads_runnable",
        sched.threads_runnable(interval_ns),
    )?;
    fields.put("sched.threads_ran", &sched.threads_ran)?;
    if let Some(peaks) = sched.peaks {
        fields.put("sched.threads_running_peak", &peaks.running)?;
        fields.maybe("sched.threads_runnable_peak", peaks.runnable)?;
    }
    fields.put("sched.run_queue.wait_ns", &sched.wait_ns)?;
    fields.put("sched.run_queue.count", &waits)?;
    fields.put("sched.run_queue.wait_own_ns", &sched.wait_own_ns)?;
    fields.put("sched.run_queue.wait_others_ns", &sched.wait_others_ns)?;
    fields.put(
        "sched.run_queue.throttled_wait_ns",
        &sched.throttled_wait_ns,
    )?;
    fields.put(
        "sched.run_queue.throttled_wait_ancestor_ns",
        &sched.ancestor_wait_ns,
    )
}

/// One of `sched.run_queue.neighbours`.
struct NeighbourFields<'a>(&'a Neighbour);

impl Serialize for NeighbourFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        identity::write(&mut fields, &self.0.container)?;
        fields.put("wait_ns", &self.0.wait_ns)?;
        fields.maybe("cpu_time_ns", self.0.cpu_time_ns)?;
        fields.0.end()
    }
}

fn throttle<M: SerializeMap>(
    fields: &mut Fields<M>,
    throttle: &ThrottleStats,
) -> Result<(), M::Error> {
    fields.put("throttle.summed_ns", &throttle.summed_ns)?;
    fields.maybe("throttle.frozen_ns", throttle.frozen_ns)?;
    fields.put("throttle.intervals", &throttle.intervals)?;
    fields.put("throttle.periods", &throttle.periods)?;
    fields.put("throttle.throttled_periods", &throttle.throttled_periods)?;
    fields.maybe(
        "throttle.burst_periods",
        throttle.burst.map(|burst| burst.periods),
    )?;
    fields.maybe("throttle.burst_ns", throttle.burst.map(|burst| burst.ns))?;
    if let Some(burn) = throttle.burn {
        fields.put("throttle.burn_periods", &burn.periods)?;
        fields.put("throttle.burn_mean_ns", &burn.mean_ns())?;
        fields.put("throttle.burn_min_ns", &burn.shortest_ns)?;
        fields.float("throttle.burn_cpus", burn.mean_cpus())?;
        fields.float("throttle.burn_threads", burn.mean_threads())?;
    }
    fields.put("throttle.unseen_ns", &throttle.unseen_ns)
}

fn memory<M: SerializeMap>(fields: &mut Fields<M>, memory: &MemoryStats) -> Result<(), M::Error> {
    super::oom::reading(fields, &memory.reading)?;
    memory.growth_bytes_per_second.map_or(Ok(()), |growth| {
        fields.float("memory.growth_bytes_per_second", growth)
    })
}

/// A histogram without its empty buckets: `[[lower edge in nanoseconds, count], …]`.
pub struct Buckets<'a>(pub &'a Histogram);

impl Serialize for Buckets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .iter()
                .map(|(bucket, count)| [lower_edge(bucket as u32), count]),
        )
    }
}

fn buckets<M: SerializeMap>(
    fields: &mut Fields<M>,
    key: &str,
    histogram: &Histogram,
) -> Result<(), M::Error> {
    let present = Some(histogram).filter(|histogram| !histogram.is_empty());
    fields.maybe(key, present.map(Buckets))
}
