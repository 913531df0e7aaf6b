//! A `container_stats` line back into what it was written from.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use tracer_common::log_linear::{bucket_of, lower_edge};

use crate::model::event::EventKind;
use crate::model::histogram::Histogram;
use crate::model::identity::Identity;
use crate::model::stats::{ContainerStats, IntervalHistograms, SchedStats, ThrottleStats};
use crate::sinks::json::SCHEMA_VERSION;

/// The keys that a report needs; all others are passed over.
#[derive(Deserialize)]
struct Line {
    event: String,
    schema_version: u32,
    time: Option<String>,
    interval_ns: Option<u64>,
    #[serde(rename = "container.id")]
    container_id: Option<String>,
    #[serde(rename = "container.name")]
    container_name: Option<String>,
    #[serde(rename = "k8s.namespace.name")]
    k8s_namespace: Option<String>,
    #[serde(rename = "k8s.pod.name")]
    k8s_pod_name: Option<String>,
    #[serde(rename = "k8s.pod.uid")]
    k8s_pod_uid: Option<String>,
    #[serde(rename = "k8s.container.name")]
    k8s_container_name: Option<String>,
    #[serde(rename = "process.linux.cgroup")]
    cgroup_path: Option<String>,
    #[serde(rename = "sched.cpu_time_ns")]
    cpu_time_ns: Option<u64>,
    #[serde(rename = "sched.run_queue.wait_ns")]
    wait_ns: Option<u64>,
    #[serde(rename = "throttle.summed_ns")]
    throttled_ns: Option<u64>,
    #[serde(rename = "throttle.frozen_ns")]
    frozen_ns: Option<u64>,
    #[serde(rename = "sched.run_queue.buckets", default)]
    run_queue_wait: Vec<(u64, u64)>,
    #[serde(rename = "sched.on_cpu.buckets", default)]
    on_cpu_slice: Vec<(u64, u64)>,
    #[serde(rename = "throttle.buckets", default)]
    throttled_interval: Vec<(u64, u64)>,
    #[serde(rename = "throttle.frozen.buckets", default)]
    frozen_time: Vec<(u64, u64)>,
}

/// What a report needs of the interval, and when it ended (nanoseconds since the Unix epoch);
/// nothing for other events. The error says what is wrong with the line.
pub fn parse(line: &[u8]) -> Result<Option<(ContainerStats, i64)>, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        // The library's own line number is always 1 here.
        let text = error.to_string();
        text.replace(" at line 1 column ", " at column ")
    })?;
    if line.schema_version > SCHEMA_VERSION {
        return Err(format!(
            "schema_version {} is of a newer limitscope; this one knows {SCHEMA_VERSION}",
            line.schema_version
        ));
    }
    if line.event != EventKind::ContainerStats.name() {
        return Ok(None);
    }
    stats(line).map(Some)
}

fn stats(line: Line) -> Result<(ContainerStats, i64), String> {
    let time = need("time", line.time)?;
    let end: Timestamp = time.parse().map_err(|error| format!("time: {error}"))?;
    let end =
        i64::try_from(end.as_nanosecond()).map_err(|_| format!("time: {time} is out of range"))?;
    let stats = ContainerStats {
        container: Arc::new(Identity {
            cgroup_path: need("process.linux.cgroup", line.cgroup_path)?,
            container_id: line.container_id,
            container_name: line.container_name,
            k8s_namespace: line.k8s_namespace,
            k8s_pod_name: line.k8s_pod_name,
            k8s_pod_uid: line.k8s_pod_uid,
            k8s_container_name: line.k8s_container_name,
            ..Identity::default()
        }),
        interval_ns: need("interval_ns", line.interval_ns)?,
        sched: SchedStats {
            cpu_time_ns: need("sched.cpu_time_ns", line.cpu_time_ns)?,
            wait_ns: need("sched.run_queue.wait_ns", line.wait_ns)?,
            ..SchedStats::default()
        },
        throttle: ThrottleStats {
            summed_ns: need("throttle.summed_ns", line.throttled_ns)?,
            // Absent where only the sums of cpu.stat are known.
            frozen_ns: line.frozen_ns,
            ..ThrottleStats::default()
        },
        memory: None,
        histograms: IntervalHistograms {
            run_queue_wait: histogram("sched.run_queue.buckets", &line.run_queue_wait)?,
            on_cpu_slice: histogram("sched.on_cpu.buckets", &line.on_cpu_slice)?,
            throttled_interval: histogram("throttle.buckets", &line.throttled_interval)?,
            frozen_time: histogram("throttle.frozen.buckets", &line.frozen_time)?,
        },
        neighbours: Vec::new(),
    };
    Ok((stats, end))
}

fn need<T>(key: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("container_stats without {key}"))
}

fn histogram(key: &str, buckets: &[(u64, u64)]) -> Result<Histogram, String> {
    let mut histogram = Histogram::default();
    for &(edge, count) in buckets {
        let bucket = bucket_of(edge);
        if lower_edge(bucket) != edge {
            return Err(format!("{key}: {edge} is the lower edge of no bucket"));
        }
        histogram.add(bucket as usize, count);
    }
    Ok(histogram)
}
