//! What the events told of one of the demo's cgroups, added up over the run.

use std::collections::BTreeSet;

use serde_json::Value;
use tracer_common::log_linear::bucket_of;

use crate::model::histogram::Histogram;

/// One OOM kill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kill {
    /// `oom.summary`.
    pub summary: String,
    /// `oom.scope`.
    pub scope: String,
    /// `oom.limit.cgroup`.
    pub limit_cgroup: String,
    /// `oom.limit.bytes`.
    pub limit_bytes: u64,
    /// `oom.usage_bytes`.
    pub usage_bytes: u64,
    /// `oom.victim.memory.anon_bytes`.
    pub anon_bytes: u64,
    /// `oom.victim.memory.file_bytes`.
    pub file_bytes: u64,
    /// `oom.victim.memory.shmem_bytes`.
    pub shmem_bytes: u64,
    /// `oom.victim.memory.swap_bytes`.
    pub swap_bytes: u64,
    /// `oom.victim.memory.page_tables_bytes`.
    pub page_tables_bytes: Option<u64>,
    /// `monotonic_ns`.
    pub at_ns: u64,
}

/// What was seen of one cgroup. Counts and times are sums over the intervals.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// OOM kills.
    pub kills: Vec<Kill>,
    /// `throttle.summed_ns`.
    pub summed_ns: u64,
    /// `throttle.frozen_ns`.
    pub frozen_ns: u64,
    /// `throttle.periods`.
    pub periods: u64,
    /// `throttle.throttled_periods`.
    pub throttled_periods: u64,
    /// `throttle.burn_ns` of each throttled interval that has it.
    pub burns_ns: Vec<u64>,
    /// CPUs on which it was throttled.
    pub cpus: BTreeSet<u64>,
    /// `throttle.source`.
    pub source: Option<String>,
    /// `sched.cpu_time_ns`.
    pub cpu_time_ns: u64,
    /// `sched.context_switches.voluntary`.
    pub voluntary: u64,
    /// `sched.context_switches.involuntary`.
    pub involuntary: u64,
    /// `sched.run_queue.buckets`.
    pub waits: Histogram,
    /// The largest `memory.current_bytes`.
    pub memory_bytes: u64,
    /// The largest `memory.growth_bytes_per_second`.
    pub growth_bytes_per_second: f64,
}

/// What the tracer said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentSeen {
    /// The sum of everything lost, `agent.lost.*`, that is a count.
    pub lost: u64,
    /// `agent.lost.unseen_throttle_ns`.
    pub unseen_throttle_ns: u64,
    /// `agent.cost.cpu_ratio` of each whole interval.
    pub cpu_ratios: Vec<f64>,
    /// `agent.cost.resident_bytes`.
    pub resident_bytes: u64,
}

/// The text of a key.
pub fn text(event: &Value, key: &str) -> String {
    event[key].as_str().unwrap_or_default().to_owned()
}

fn number(event: &Value, key: &str) -> u64 {
    event[key].as_u64().unwrap_or(0)
}

impl Seen {
    /// Takes an event of this cgroup.
    pub fn take(&mut self, event: &Value) {
        match event["event"].as_str() {
            Some("oom_kill") => self.kills.push(Kill::of(event)),
            Some("cpu_throttle") => {
                self.burns_ns.extend(event["throttle.burn_ns"].as_u64());
                self.cpus.extend(event["throttle.cpu"].as_u64());
                self.source = event["throttle.source"].as_str().map(str::to_owned);
            }
            Some("container_stats") => self.add_interval(event),
            _ => {}
        }
    }

    fn add_interval(&mut self, event: &Value) {
        self.summed_ns += number(event, "throttle.summed_ns");
        self.frozen_ns += number(event, "throttle.frozen_ns");
        self.periods += number(event, "throttle.periods");
        self.throttled_periods += number(event, "throttle.throttled_periods");
        self.cpu_time_ns += number(event, "sched.cpu_time_ns");
        self.voluntary += number(event, "sched.context_switches.voluntary");
        self.involuntary += number(event, "sched.context_switches.involuntary");
        for bucket in event["sched.run_queue.buckets"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if let (Some(edge), Some(count)) = (bucket[0].as_u64(), bucket[1].as_u64()) {
                self.waits.add(bucket_of(edge) as usize, count);
            }
        }
        self.memory_bytes = self.memory_bytes.max(number(event, "memory.current_bytes"));
        let growth = event["memory.growth_bytes_per_second"].as_f64();
        self.growth_bytes_per_second = self.growth_bytes_per_second.max(growth.unwrap_or(0.0));
    }

    /// The middle one of the times in which the quota was used up.
    pub fn burn_ns(&self) -> Option<u64> {
        let mut sorted = self.burns_ns.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

impl Kill {
    fn of(event: &Value) -> Self {
        Self {
            summary: text(event, "oom.summary"),
            scope: text(event, "oom.scope"),
            limit_cgroup: text(event, "oom.limit.cgroup"),
            limit_bytes: number(event, "oom.limit.bytes"),
            usage_bytes: number(event, "oom.usage_bytes"),
            anon_bytes: number(event, "oom.victim.memory.anon_bytes"),
            file_bytes: number(event, "oom.victim.memory.file_bytes"),
            shmem_bytes: number(event, "oom.victim.memory.shmem_bytes"),
            swap_bytes: number(event, "oom.victim.memory.swap_bytes"),
            page_tables_bytes: event["oom.victim.memory.page_tables_bytes"].as_u64(),
            at_ns: number(event, "monotonic_ns"),
        }
    }
}

impl AgentSeen {
    /// Takes an `agent` event.
    pub fn take(&mut self, event: &Value) {
        self.lost = [
            "ring",
            "slots",
            "clock",
            "undecodable",
            "sink",
            "maps",
            "reads",
        ]
        .into_iter()
        .map(|what| number(event, &format!("agent.lost.{what}")))
        .sum();
        self.unseen_throttle_ns = number(event, "agent.lost.unseen_throttle_ns");
        // The last interval is cut off, and may be too short to say anything.
        if event["agent.phase"] == "interval" {
            self.cpu_ratios
                .extend(event["agent.cost.cpu_ratio"].as_f64());
        }
        if let Some(resident) = event["agent.cost.resident_bytes"].as_u64() {
            self.resident_bytes = resident;
        }
    }

    /// Mean share of one CPU; `None` when there was no whole interval.
    pub fn cpu_ratio(&self) -> Option<f64> {
        let count = self.cpu_ratios.len();
        (count > 0).then(|| self.cpu_ratios.iter().sum::<f64>() / count as f64)
    }
}
