//! Histograms and sums per container over a whole run, or over several recordings.

use std::collections::BTreeMap;

use super::names::qualified_name;
use crate::model::histogram::Histogram;
use crate::model::stats::{ContainerStats, Metric};
use tracer_common::log_linear::middle;

#[cfg(test)]
mod tests;

/// Containers that a run's report keeps apart at most. With all histograms in use one takes 15 KiB.
pub const MAX_CONTAINERS: usize = 4096;

/// Name of the row that takes the containers for which there was no more room.
pub const OTHERS: &str = "(others)";

/// One metric of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricReport {
    /// Counts by bucket, values in nanoseconds.
    pub histogram: Histogram,
    /// Sum of the values in nanoseconds.
    pub sum_ns: u64,
    /// Whether some of the sum was put together from middles of buckets.
    pub sum_is_estimated: bool,
}

impl MetricReport {
    /// Whether there is nothing to tell.
    pub const fn is_empty(&self) -> bool {
        self.histogram.is_empty() && self.sum_ns == 0
    }

    fn add(&mut self, histogram: &Histogram, sum_ns: Option<u64>) {
        self.histogram.merge(histogram);
        let sum = sum_ns.unwrap_or_else(|| estimated_sum(histogram));
        self.sum_ns = self.sum_ns.saturating_add(sum);
        self.sum_is_estimated |= sum_ns.is_none() && !histogram.is_empty();
    }

    fn merge(&mut self, other: &Self) {
        self.histogram.merge(&other.histogram);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.sum_is_estimated |= other.sum_is_estimated;
    }
}

fn estimated_sum(histogram: &Histogram) -> u64 {
    histogram.iter().fold(0, |sum: u64, (bucket, count)| {
        sum.saturating_add(middle(bucket as u32).saturating_mul(count))
    })
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerReport {
    /// Its name ([`qualified_name`]); text from outside.
    pub name: String,
    metrics: [MetricReport; Metric::ALL.len()],
}

impl ContainerReport {
    /// One of its metrics.
    pub const fn metric(&self, metric: Metric) -> &MetricReport {
        &self.metrics[metric as usize]
    }

    /// The metrics of which there is something to tell, in the order of [`Metric::ALL`].
    pub fn metrics(&self) -> impl Iterator<Item = (Metric, &MetricReport)> {
        Metric::ALL
            .into_iter()
            .map(|metric| (metric, self.metric(metric)))
            .filter(|(_, report)| !report.is_empty())
    }

    const fn metric_mut(&mut self, metric: Metric) -> &mut MetricReport {
        &mut self.metrics[metric as usize]
    }

    /// What a container suffered: standing still first, then throttling, then waiting, in
    /// nanoseconds.
    const fn suffering(&self) -> (u64, u64, u64) {
        (
            self.metric(Metric::FrozenTime).sum_ns,
            self.metric(Metric::ThrottledInterval).sum_ns,
            self.metric(Metric::RunQueueWait).sum_ns,
        )
    }
}

/// What is known of all containers.
#[derive(Clone, Debug)]
pub struct Report {
    containers: BTreeMap<String, ContainerReport>,
    max_containers: usize,
    span: Option<(i64, i64)>,
}

impl Default for Report {
    fn default() -> Self {
        Self::new(MAX_CONTAINERS)
    }
}

impl Report {
    /// An empty one that keeps at most so many containers apart.
    pub const fn new(max_containers: usize) -> Self {
        Self {
            containers: BTreeMap::new(),
            max_containers,
            span: None,
        }
    }

    /// Adds an interval that ended at `end_unix_ns` (nanoseconds since the Unix epoch).
    ///
    /// A container is told apart by its id, or where it has none by its cgroup's path, so that a
    /// name that becomes known later is its name from the start.
    pub fn add(&mut self, stats: &ContainerStats, end_unix_ns: i64) {
        self.cover(
            end_unix_ns.saturating_sub_unsigned(stats.interval_ns),
            end_unix_ns,
        );
        let identity = &stats.container;
        let key = identity
            .container_id
            .as_deref()
            .unwrap_or(&identity.cgroup_path);
        let container = self.container(key);
        if container.name != OTHERS {
            container.name = qualified_name(identity);
        }
        for metric in Metric::ALL {
            let sum = match metric {
                Metric::RunQueueWait => stats.sched.wait_ns,
                Metric::OnCpuSlice => stats.sched.cpu_time_ns,
                Metric::ThrottledInterval => stats.throttle.summed_ns,
                Metric::FrozenTime => stats.throttle.frozen_ns.unwrap_or(0),
            };
            let histogram = metric.of(&stats.histograms);
            container.metric_mut(metric).add(histogram, Some(sum));
        }
    }

    /// Adds a histogram without its sum, which is estimated.
    pub fn add_histogram(&mut self, name: &str, metric: Metric, histogram: &Histogram) {
        let container = self.container(name);
        container.metric_mut(metric).add(histogram, None);
    }

    /// Takes into account that something was recorded from `start_ns` to `end_ns`, in nanoseconds
    /// since the Unix epoch.
    pub fn cover(&mut self, start_ns: i64, end_ns: i64) {
        let (start, end) = self.span.unwrap_or((start_ns, end_ns));
        self.span = Some((start.min(start_ns), end.max(end_ns)));
    }

    /// First and last time covered, in nanoseconds since the Unix epoch.
    pub const fn span(&self) -> Option<(i64, i64)> {
        self.span
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty()
    }

    /// The containers by name, those that suffered most first. Equal names are one container:
    /// restarts, or the same service on several nodes.
    pub fn by_name(&self) -> Vec<ContainerReport> {
        let mut by_name: BTreeMap<&str, ContainerReport> = BTreeMap::new();
        for container in self.containers.values() {
            let merged = by_name.entry(&container.name).or_default();
            merged.name.clone_from(&container.name);
            for (mine, other) in merged.metrics.iter_mut().zip(&container.metrics) {
                mine.merge(other);
            }
        }
        let mut sorted: Vec<_> = by_name.into_values().collect();
        sorted.sort_by_key(|container| std::cmp::Reverse(container.suffering()));
        sorted
    }

    /// The container of a key, new ones with the key as name.
    fn container(&mut self, key: &str) -> &mut ContainerReport {
        let full = self.containers.len() >= self.max_containers;
        let key = if full && !self.containers.contains_key(key) {
            OTHERS
        } else {
            key
        };
        self.containers
            .entry(key.to_owned())
            .or_insert_with(|| ContainerReport {
                name: key.to_owned(),
                ..ContainerReport::default()
            })
    }
}
