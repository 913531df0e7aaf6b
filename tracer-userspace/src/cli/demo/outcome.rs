//! Everything that one demo found out, and whether it is what it should have found.

use serde_json::{Value, json};

use super::{
    limits::CpuStat,
    seen::{AgentSeen, Seen},
};

/// From this on our throttled time and the kernel's are not the same thing. Real machines are two
/// orders of magnitude below it, slow emulated ones may come near.
const MOST_DISAGREEMENT: f64 = 0.1;

/// What came out of a demo: what was seen, and the kernel's own figures.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The one that leaks.
    pub leaking: Seen,
    /// The one over its quota.
    pub burning: Seen,
    /// The quiet one.
    pub quiet: Seen,
    /// The tracer about itself.
    pub agent: AgentSeen,
    /// The kernel's account of the burning one's quota.
    pub cpu_stat: CpuStat,
    /// OOM kills that the kernel counted in the leaking one.
    pub oom_kills: u64,
    /// The file that says so.
    pub oom_kills_file: &'static str,
    /// Exit code of the leaking process.
    pub exit_code: i32,
    /// Time from the start of the leak to the first kill, in nanoseconds.
    pub lived_ns: u64,
    /// Time for which the burning one was busy, in nanoseconds.
    pub busy_ns: u64,
    /// CPUs of the machine.
    pub cpus: u32,
}

impl Outcome {
    /// How far our throttled time is from the kernel's, as a share of the kernel's.
    fn disagreement(&self) -> f64 {
        let kernel = self.cpu_stat.throttled_ns;
        self.burning.summed_ns.abs_diff(kernel) as f64 / kernel.max(1) as f64
    }

    /// What should have been seen and was not.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.leaking.kills.is_empty() {
            missing.push(format!(
                "the OOM kill of the leaking process was not seen (the kernel counts {})",
                self.oom_kills
            ));
        } else if self.leaking.kills.len() as u64 != self.oom_kills {
            missing.push(format!(
                "{} OOM kills were seen and the kernel counts {}",
                self.leaking.kills.len(),
                self.oom_kills
            ));
        }
        if self.burning.summed_ns == 0 {
            missing.push(format!(
                "the throttling of the burning process was not seen (the kernel counts {} \
                 throttled periods)",
                self.cpu_stat.throttled_periods
            ));
        }
        if self.disagreement() > MOST_DISAGREEMENT {
            missing.push(format!(
                "{} ns of throttled time were seen and the kernel counts {} ns",
                self.burning.summed_ns, self.cpu_stat.throttled_ns
            ));
        }
        if self.quiet.voluntary == 0 {
            missing.push("the context switches of the quiet process were not seen".to_owned());
        }
        if self.agent.lost > 0 {
            missing.push(format!("{} records or values were lost", self.agent.lost));
        }
        missing
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let seen = |seen: &Seen| {
            json!({
                "oom_kills": seen.kills.len(),
                "oom_summaries": seen.kills.iter().map(|kill| &kill.summary).collect::<Vec<_>>(),
                "throttle_summed_ns": seen.summed_ns,
                "throttle_frozen_ns": seen.frozen_ns,
                "throttle_burn_ns": seen.burn_ns(),
                "periods": seen.periods,
                "throttled_periods": seen.throttled_periods,
                "cpu_time_ns": seen.cpu_time_ns,
                "context_switches_voluntary": seen.voluntary,
                "context_switches_involuntary": seen.involuntary,
                "run_queue_p99_ns": seen.waits.quantile(0.99),
                "memory_bytes": seen.memory_bytes,
            })
        };
        json!({
            "leaking": seen(&self.leaking),
            "burning": seen(&self.burning),
            "quiet": seen(&self.quiet),
            "kernel": {
                "oom_kills": self.oom_kills,
                "throttle_summed_ns": self.cpu_stat.throttled_ns,
                "periods": self.cpu_stat.periods,
                "throttled_periods": self.cpu_stat.throttled_periods,
            },
            "exit_code": self.exit_code,
            "busy_ns": self.busy_ns,
            "lost": self.agent.lost,
            "missing": self.missing(),
        })
    }
}
