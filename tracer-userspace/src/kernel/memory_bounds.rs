//! Upper bound of the kernel memory that the maps take.

use tracer_common::counters::COUNTERS;
use tracer_common::globals::OFFSETS;
use tracer_common::maps::{
    self, CACHE_LINES, CacheLine, CpuState, EVENTS_BYTES, Epoch, Frozen, HASH_ENTRIES, HISTOGRAMS,
    Histogram, KILLS, LastThrottle, MAX_ENDS, NEIGHBOUR_ENTRIES, OpenThrottle, RunHistory, Slot,
    SlotCpu, TASK_WAIT_ENTRIES, THROTTLES_BYTES, TaskWait, lru_entries,
};
use tracer_common::records::{CgroupLifecycle, OomCommandLine, OomControl};

/// Slots that `run` makes unless told otherwise: one for each cgroup that lives at a time, and the
/// one of the unknown.
pub const DEFAULT_MAX_CGROUPS: u32 = 4096;

/// What the kernel adds to a hash entry: `struct htab_elem` (48 bytes) and its bucket
/// (`kernel/bpf/hashtab.c`).
const HASH_OVERHEAD: u64 = 64;

/// The kernel's own description of a map (`struct bpf_map` and what it is part of).
const MAP_OVERHEAD: u64 = 512;

/// Memory of one map, or of a few that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapMemory {
    /// Its name.
    pub name: &'static str,
    /// Entries.
    pub entries: u64,
    /// Bytes, the kernel's own overhead included.
    pub bytes: u64,
}

/// Kernel memory of all maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Each map.
    pub maps: Vec<MapMemory>,
}

impl MemoryBounds {
    /// For `cgroups` slots, `cpus` possible CPUs and pages of `page_size` bytes.
    pub fn new(cgroups: u32, cpus: u32, page_size: u64) -> Self {
        let (slots, cpus) = (u64::from(cgroups), u64::from(cpus));
        let hash_entries = u64::from(HASH_ENTRIES);
        let possible = u32::try_from(cpus).unwrap_or(u32::MAX);
        let lru = |wanted| u64::from(lru_entries(wanted, possible));
        let array = |name, entries: u64, value: usize| MapMemory {
            name,
            entries,
            bytes: whole(
                entries
                    .saturating_mul(whole(value as u64, 8))
                    .saturating_add(MAP_OVERHEAD),
                8,
            ),
        };
        let hash = |name, entries: u64, key: usize, value: usize| {
            // Preallocated with one more for each CPU; the number of buckets is a power of two.
            let entry = whole(key as u64, 8) + whole(value as u64, 8) + HASH_OVERHEAD;
            let bytes = (entries.next_power_of_two() + cpus).saturating_mul(entry);
            MapMemory {
                name,
                entries,
                bytes: bytes.saturating_add(MAP_OVERHEAD),
            }
        };
        let ring = |name, bytes: u32| MapMemory {
            name,
            entries: u64::from(bytes),
            // Data, consumer's page, producer's page and the kernel's own, and where they lie: the
            // data are mapped twice.
            bytes: u64::from(bytes)
                + 3 * page_size
                + 2 * 8 * u64::from(bytes).div_ceil(page_size)
                + MAP_OVERHEAD,
        };
        // Read in place by user space: the values begin on a page of their own.
        let mapped = |name, entries: u64, value: usize| MapMemory {
            name,
            entries,
            bytes: whole(entries.saturating_mul(value as u64), page_size)
                .saturating_add(whole(MAP_OVERHEAD, page_size)),
        };
        // What a program notes between the entry and the exit of something:
        // `tracer-ebpf/src/maps.rs`.
        let ending = 40 + 24 * MAX_ENDS;
        let mut maps = vec![
            ring(maps::EVENTS, EVENTS_BYTES),
            ring(maps::THROTTLES, THROTTLES_BYTES),
            mapped(
                maps::SLOT_CPUS,
                slots.saturating_mul(cpus),
                size_of::<SlotCpu>(),
            ),
            mapped(maps::SLOTS, slots, size_of::<Slot>()),
            array(
                maps::HISTOGRAMS_MAP,
                slots.saturating_mul(u64::from(HISTOGRAMS)),
                size_of::<Histogram>(),
            ),
            array(maps::SLOT_FLAGS, slots, size_of::<u32>()),
            array(maps::FREE_SLOTS, slots, size_of::<u32>()),
            hash(maps::SLOT_OF_CGROUP, slots.saturating_mul(2), 8, 4),
            hash(maps::FROZEN, slots, 4, size_of::<Frozen>()),
            array(
                maps::SLOT_CACHE,
                cpus.saturating_mul(u64::from(CACHE_LINES)),
                size_of::<CacheLine>(),
            ),
            array(maps::CPU_STATES, cpus, size_of::<CpuState>()),
            hash(
                maps::OPEN_THROTTLES,
                hash_entries,
                8,
                size_of::<OpenThrottle>(),
            ),
            hash(
                maps::LAST_THROTTLES,
                lru(HASH_ENTRIES),
                8,
                size_of::<LastThrottle>(),
            ),
            array(
                maps::TASK_WAITS,
                u64::from(TASK_WAIT_ENTRIES),
                size_of::<TaskWait>(),
            ),
            array(maps::PARKED_AT, u64::from(TASK_WAIT_ENTRIES), 8),
            array(maps::EPOCH, 1, size_of::<Epoch>()),
            array(maps::RUN_HISTORIES, cpus, size_of::<RunHistory>()),
            hash(maps::NEIGHBOURS, lru(NEIGHBOUR_ENTRIES), 8, 8),
            array("COVERS", cpus, 72),
            array("LAST_SCRATCH", cpus, size_of::<LastThrottle>()),
            hash("PENDING_KILLS", u64::from(KILLS), 8, 16),
            hash(
                "OOM_CONTEXTS",
                u64::from(KILLS),
                8,
                24 + size_of::<OomControl>(),
            ),
            hash("OOM_VICTIMS", u64::from(KILLS), 4, 4),
            array("COMMAND_LINE_SCRATCH", cpus, size_of::<OomCommandLine>()),
            array("LEARNED", 1, 24),
            array("TIMER_ENDING", cpus, ending),
            array("CSD_ENDING", cpus, ending),
            array("UNTHROTTLE_ENDING", cpus, 24),
            array("LIFECYCLE_SCRATCH", cpus, size_of::<CgroupLifecycle>()),
            array(maps::COUNTERS_MAP, u64::from(COUNTERS), 8),
            // The globals: offsets, and fewer than 32 others.
            array(".rodata", OFFSETS.len() as u64 + 2 * 32, 4),
        ];
        // Old kernels account whole pages to each.
        for map in &mut maps {
            map.bytes = whole(map.bytes, page_size);
        }
        Self { maps }
    }

    /// Bytes of all maps.
    pub fn total(&self) -> u64 {
        self.maps
            .iter()
            .fold(0, |sum, map| sum.saturating_add(map.bytes))
    }
}

/// `bytes` rounded up to a multiple of `unit`.
const fn whole(bytes: u64, unit: u64) -> u64 {
    bytes.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(bounds: &MemoryBounds, name: &str) -> u64 {
        bounds
            .maps
            .iter()
            .find(|map| map.name == name)
            .unwrap()
            .bytes
    }

    #[test]
    fn bounds_grow_with_what_they_are_for() {
        let small = MemoryBounds::new(1_024, 4, 4096);
        let cgroups = MemoryBounds::new(2_048, 4, 4096);
        let cpus = MemoryBounds::new(1_024, 8, 4096);
        let more = |bounds, name| bytes_of(bounds, name) - bytes_of(&small, name);
        assert_eq!(more(&cgroups, maps::HISTOGRAMS_MAP), 1_024 * 4 * 1_856);
        assert_eq!(more(&cpus, maps::HISTOGRAMS_MAP), 0);
        assert_eq!(more(&cgroups, maps::SLOT_CPUS), 1_024 * 4 * 64);
        assert_eq!(more(&cpus, maps::SLOT_CPUS), 1_024 * 4 * 64);
        assert_eq!(
            small.total(),
            small.maps.iter().map(|map| map.bytes).sum::<u64>()
        );
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let bounds = MemoryBounds::new(u32::MAX, u32::MAX, 65_536);
        assert_eq!(bounds.total(), u64::MAX);
    }
}
