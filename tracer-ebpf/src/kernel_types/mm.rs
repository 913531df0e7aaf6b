//! `struct mm_struct` (`include/linux/mm_types.h`): the memory of a process.

use crate::{
    globals::{
        MM_ARG_END, MM_ARG_START, MM_PGTABLES_BYTES, MM_RSS_STAT, MM_TOTAL_VM, PER_CPU_OFFSET,
        PERCPU_COUNTER_COUNT, PERCPU_COUNTER_COUNTERS, RSS_IS_PERCPU, RSS_STRIDE, cpus, present,
    },
    read::checked,
};

/// `MM_FILEPAGES`, `MM_ANONPAGES`, `MM_SWAPENTS`, `MM_SHMEMPAGES` (`linux/mm_types_task.h`).
pub const FILE_PAGES: u32 = 0;
pub const ANON_PAGES: u32 = 1;
pub const SWAP_ENTRIES: u32 = 2;
pub const SHMEM_PAGES: u32 = 3;

/// `struct mm_struct *`
#[derive(Clone, Copy)]
pub struct Mm(pub u64);

impl Mm {
    #[inline(always)]
    pub fn total_vm_pages(self) -> u64 {
        checked::read(self.0, MM_TOTAL_VM.load())
    }

    #[inline(always)]
    pub fn page_tables_bytes(self) -> u64 {
        if present(&MM_PGTABLES_BYTES) {
            checked::read(self.0, MM_PGTABLES_BYTES.load())
        } else {
            0
        }
    }

    /// Where its process's arguments begin and end, as addresses of the process; 0 where the kernel
    /// does not tell.
    #[inline(always)]
    pub fn arguments(self) -> (u64, u64) {
        if !present(&MM_ARG_START) || !present(&MM_ARG_END) {
            return (0, 0);
        }
        (
            checked::read(self.0, MM_ARG_START.load()),
            checked::read(self.0, MM_ARG_END.load()),
        )
    }

    /// Whether [`Self::rss_pages`] is the exact sum.
    #[inline(always)]
    pub fn rss_is_exact() -> bool {
        RSS_IS_PERCPU.load() == 1 && PER_CPU_OFFSET.load() != 0
    }
}

/// Pages of one kind. Since 6.2 a `percpu_counter`: its `count` lags by what each CPU holds back,
/// so the CPUs' parts are added where their addresses can be had.
///
/// A function of its own: the loop is verified once and not for each kind.
#[inline(never)]
pub fn rss_pages(mm: u64, kind: u32) -> u64 {
    let counter = mm + u64::from(MM_RSS_STAT.load()) + u64::from(kind * RSS_STRIDE.load());
    let pages = if RSS_IS_PERCPU.load() == 1 {
        let mut pages: i64 = checked::read(counter, PERCPU_COUNTER_COUNT.load());
        if PER_CPU_OFFSET.load() != 0 {
            let counters: u64 = checked::read(counter, PERCPU_COUNTER_COUNTERS.load());
            for cpu in 0..cpus() {
                let base: u64 = checked::read(PER_CPU_OFFSET.load(), 8 * cpu);
                if base == 0 {
                    break;
                }
                let part: i32 = checked::read(counters.wrapping_add(base), 0);
                pages += i64::from(part);
            }
        }
        pages
    } else {
        checked::read(counter, 0)
    };
    // The kernel shows a count that is below zero for a moment as 0 as well
    // (`percpu_counter_read_positive`).
    if pages < 0 { 0 } else { pages as u64 }
}
