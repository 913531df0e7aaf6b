//! What the trace said of each container that it saw.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// The sums over a trace of one container.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Path of its cgroup.
    pub cgroup: String,
    /// Its names: key and value, in the order of the page.
    pub names: Vec<(&'static str, String)>,
    /// Length of all intervals in which it did something, in nanoseconds.
    pub interval_ns: u64,
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Wait for a CPU, without throttled time, in nanoseconds.
    pub wait_ns: u64,
    /// The part of it in which own threads ran, in nanoseconds.
    pub wait_own_ns: u64,
    /// The part of it in which others ran, in nanoseconds.
    pub wait_others_ns: u64,
    /// For whom it waited, by cgroup path: nanoseconds.
    pub neighbours: BTreeMap<String, u64>,
    /// Throttled part of the wait in nanoseconds.
    pub throttled_wait_ns: u64,
    /// The part of it that a quota above its own made, in nanoseconds.
    pub ancestor_wait_ns: u64,
    /// Throttled time by its own quota, summed over CPUs, in nanoseconds.
    pub throttled_summed_ns: u64,
    /// Time in which no thread could run, in nanoseconds.
    pub frozen_ns: u64,
    /// Periods of its own quota.
    pub periods: u64,
    /// Periods that ended throttled.
    pub throttled_periods: u64,
    /// Periods of quotas of which it was seen how long the quota lasted.
    pub burn_periods: u64,
    /// How long it lasted in all of them, in nanoseconds, and on how many CPUs it was burned.
    pub burn: [f64; 2],
    /// Context switches: voluntary, involuntary.
    pub switches: [u64; 2],
    /// The most threads at an interval's end.
    pub threads: u64,
    /// The largest 99th percentile of single waits of an interval, in nanoseconds.
    pub worst_p99_ns: u64,
    /// Findings that began, as their lines say.
    pub findings: Vec<Value>,
    /// Whether its processes were still to be looked into at the end.
    pub look_awaited: bool,
    /// OOM kills, as their lines say.
    pub kills: Vec<Value>,
}

/// Keys of names, with their labels.
const NAMES: [(&str, &str); 6] = [
    ("container.name", "name"),
    ("k8s.pod.name", "pod"),
    ("k8s.namespace.name", "namespace"),
    ("container.image.name", "image"),
    ("container.runtime.name", "runtime"),
    ("container.id", "id"),
];

impl Seen {
    /// Reads the lines of a trace: every container that it saw, in the order of their paths.
    pub fn read(lines: &[u8]) -> Result<Vec<Self>> {
        let mut all: BTreeMap<String, Self> = BTreeMap::new();
        let mut look_awaited = false;
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line: Value = serde_json::from_slice(line)
                .context("limitscope run wrote a line that is no JSON")?;
            let Some(cgroup) = line["process.linux.cgroup"].as_str() else {
                // Nobody else's are looked into.
                if let Some(looks) = line["agent.findings.looks_awaited"].as_u64() {
                    look_awaited = looks > 0;
                }
                continue;
            };
            let seen = all.entry(cgroup.to_owned()).or_default();
            cgroup.clone_into(&mut seen.cgroup);
            seen.take(line);
        }
        for seen in all.values_mut() {
            seen.look_awaited = look_awaited;
        }
        Ok(all.into_values().collect())
    }

    fn take(&mut self, line: Value) {
        let number = |key: &str| line[key].as_u64().unwrap_or(0);
        self.names = NAMES
            .iter()
            .filter_map(|(key, label)| Some((*label, line[*key].as_str()?.to_owned())))
            .collect();
        match line["event"].as_str() {
            Some("container_stats") => {
                self.interval_ns += number("interval_ns");
                self.cpu_ns += number("sched.cpu_time_ns");
                self.wait_ns += number("sched.run_queue.wait_ns");
                self.wait_own_ns += number("sched.run_queue.wait_own_ns");
                self.wait_others_ns += number("sched.run_queue.wait_others_ns");
                let neighbours = line["sched.run_queue.neighbours"].as_array();
                for neighbour in neighbours.into_iter().flatten() {
                    if let Some(cgroup) = neighbour["process.linux.cgroup"].as_str() {
                        *self.neighbours.entry(cgroup.to_owned()).or_default() +=
                            neighbour["wait_ns"].as_u64().unwrap_or(0);
                    }
                }
                self.throttled_wait_ns += number("sched.run_queue.throttled_wait_ns");
                self.ancestor_wait_ns += number("sched.run_queue.throttled_wait_ancestor_ns");
                self.throttled_summed_ns += number("throttle.summed_ns");
                self.frozen_ns += number("throttle.frozen_ns");
                self.periods += number("throttle.periods");
                self.throttled_periods += number("throttle.throttled_periods");
                let periods = number("throttle.burn_periods");
                self.burn_periods += periods;
                for (sum, key) in
                    (self.burn.iter_mut()).zip(["throttle.burn_mean_ns", "throttle.burn_cpus"])
                {
                    *sum += periods as f64 * line[key].as_f64().unwrap_or(0.0);
                }
                self.switches[0] += number("sched.context_switches.voluntary");
                self.switches[1] += number("sched.context_switches.involuntary");
                self.threads = self.threads.max(number("sched.threads"));
                self.worst_p99_ns = self.worst_p99_ns.max(number("sched.run_queue.p99_ns"));
            }
            Some("finding") if line["finding.phase"] == "start" => self.findings.push(line),
            Some("oom_kill") => self.kills.push(line),
            _ => {}
        }
    }
}
