//! What the programs count, read and begun anew.

use std::{thread, time::Duration};

use tracer_common::maps::{CpuState, Epoch, Slot, SlotCpu};

use super::Tracer;

/// A sleep that takes this thread off its CPU.
const A_SWITCH: Duration = Duration::from_micros(1);
/// How often it sleeps until a switch was seen, where tracing does not see all.
const SWITCHES_TRIED: u32 = 5;

impl Tracer {
    /// What all CPUs count for a slot together.
    pub fn slot(&self, slot: u32) -> Slot {
        self.slots_mapped.get(slot as usize).unwrap_or_default()
    }

    /// What one CPU counts for a slot.
    pub fn slot_cpu(&self, slot: u32, cpu: u32) -> SlotCpu {
        let index = slot as usize * self.cpus as usize + cpu as usize;
        self.slot_cpus.get(index).unwrap_or_default()
    }

    /// What a CPU runs; as nothing where that cannot be read.
    pub fn cpu_state(&self, cpu: u32) -> CpuState {
        self.cpu_states.get(&cpu, 0).unwrap_or_default()
    }

    /// The number of the epoch that ended last; 0 before there was one.
    pub const fn ended_epoch(&self) -> u32 {
        self.epoch.saturating_sub(1)
    }

    /// Ends the epoch, for what was counted in it to be read. Takes some 50 µs: the first switch
    /// begins the next one, and this thread sees to it that there is one.
    pub fn end_epoch(&mut self) {
        let number = self.epoch + 1;
        let before = self.epochs.get(&0, 0).unwrap_or_default();
        // The programs write the rest only until they have begun the one before.
        if self.epochs.set(0, Epoch { number, ..before }, 0).is_err() {
            return;
        }
        self.epoch = number;
        for _ in 0..SWITCHES_TRIED {
            thread::sleep(A_SWITCH);
            if self.epochs.get(&0, 0).is_ok_and(|now| now.begun == number) {
                return;
            }
        }
    }

    /// One counter of [`tracer_common::counters`].
    pub fn counter(&self, counter: u32) -> u64 {
        let cells = self.counters.get(&0, 0).unwrap_or_default();
        cells.get(counter as usize).copied().unwrap_or(0)
    }
}
