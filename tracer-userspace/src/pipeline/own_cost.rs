//! What the agent itself costs.

use std::fs;

use rustix::time::ClockId;

use super::compose::clock_ns;
use crate::{kernel::loader::Tracer, model::event::AgentCost};

/// Programs that a context switch runs.
const SWITCH_PROGRAM: &str = "sched_switch";

/// Measures from call to call.
pub struct OwnCost {
    cpu_ns: u64,
    at_ns: u64,
    page_size: u64,
}

impl OwnCost {
    /// Begins now.
    pub fn new(page_size: u64) -> Self {
        Self {
            cpu_ns: clock_ns(ClockId::ProcessCPUTime),
            at_ns: clock_ns(ClockId::Monotonic),
            page_size,
        }
    }

    /// The cost since the last call.
    pub fn reading(&mut self, tracer: &Tracer) -> AgentCost {
        let (cpu_ns, at_ns) = (
            clock_ns(ClockId::ProcessCPUTime),
            clock_ns(ClockId::Monotonic),
        );
        let wall = at_ns.saturating_sub(self.at_ns).max(1);
        let ratio = cpu_ns.saturating_sub(self.cpu_ns) as f64 / wall as f64;
        (self.cpu_ns, self.at_ns) = (cpu_ns, at_ns);
        let switches = tracer
            .program_cost(SWITCH_PROGRAM)
            .filter(|cost| cost.run_time_ns > 0);
        AgentCost {
            bpf_ns_per_switch: switches
                .map(|cost| cost.run_time_ns as f64 / cost.run_count.max(1) as f64),
            cpu_ratio: ratio,
            resident_bytes: self.resident_bytes().unwrap_or(0),
        }
    }

    /// Field 2 of `/proc/self/statm`, in bytes.
    fn resident_bytes(&self) -> Option<u64> {
        let statm = fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * self.page_size)
    }
}
