//! What the programs count, read and begun anew.

use tracer_common::maps::{CpuState, Epoch, Slot, SlotCpu};

use super::Tracer;

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

    /// The number of the epoch, see [`Epoch`]: 0 before the first.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// A new epoch begins with the next switch.
    pub fn begin_epoch(&mut self) {
        let before = self.epochs.get(&0, 0).unwrap_or_default();
        let number = self.epoch.wrapping_add(1);
        // The programs write the rest only until they have begun the one before.
        if self.epochs.set(0, Epoch { number, ..before }, 0).is_ok() {
            self.epoch = number;
        }
    }

    /// One counter of [`tracer_common::counters`].
    pub fn counter(&self, counter: u32) -> u64 {
        let cells = self.counters.get(&0, 0).unwrap_or_default();
        cells.get(counter as usize).copied().unwrap_or(0)
    }
}
