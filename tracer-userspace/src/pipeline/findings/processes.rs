//! What a container's processes told of themselves, and whether they are still there and at work.

use std::collections::HashMap;

use crate::{
    kernel::{process_memory, process_times},
    model::runtime::ProcessFacts,
};

/// The processes of a container that were looked into last.
#[derive(Debug, Default)]
pub struct Processes {
    /// `None` before somebody looked.
    facts: Option<Vec<ProcessFacts>>,
    /// CPU time in clock ticks that each had used when it was last judged; by number and begin.
    used: HashMap<(u32, u64), u64>,
}

impl Processes {
    /// What they told; `None` before somebody looked.
    pub fn facts(&self) -> Option<&[ProcessFacts]> {
        self.facts.as_deref()
    }

    /// Takes what a look saw.
    pub fn put(&mut self, facts: Vec<ProcessFacts>) {
        self.facts = Some(facts);
    }

    /// Forgets those that are gone, and measures the others: the CPU time that each used since it was last
    /// measured, or ever, against the busiest, and, if that is wanted, the memory that it holds. Tells
    /// whether somebody is gone.
    pub fn measure(&mut self, memory: bool) -> bool {
        let Some(facts) = &mut self.facts else {
            return false;
        };
        let before = facts.len();
        let mut used = HashMap::new();
        let mut ticks = Vec::with_capacity(before);
        facts.retain(|process| {
            let now = process_times::of(process.pid);
            // Its number may be another's by now.
            let Some(now) = now.filter(|now| now.start_ticks == process.start_ticks) else {
                return false;
            };
            let key = (process.pid, process.start_ticks);
            let last = self.used.get(&key).copied().unwrap_or(0);
            used.insert(key, now.cpu_ticks);
            ticks.push(now.cpu_ticks.saturating_sub(last));
            true
        });
        self.used = used;
        let most = ticks.iter().copied().max().unwrap_or(0);
        for (process, ticks) in facts.iter_mut().zip(ticks) {
            process.cpu_share = (most > 0).then(|| ticks as f64 / most as f64);
            if memory {
                let now = process_memory::of(process.pid);
                process.memory_held_bytes = now.map(|memory| memory.bytes);
            }
        }
        facts.len() < before
    }
}
