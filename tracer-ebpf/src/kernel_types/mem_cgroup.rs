//! `struct mem_cgroup` (`include/linux/memcontrol.h`). Its css is its first member.

use tracer_common::records::PAGE_COUNTER_MAX;

use crate::{
    globals::{
        CSS_CGROUP, CSS_PARENT, MEMCG_EVENTS_LOCAL, MEMCG_MEMORY, MEMCG_MEMSW, MEMCG_OOM_EVENT,
        MEMORY_HIERARCHY, PAGE_COUNTER_MAX_OFFSET, PAGE_COUNTER_USAGE, present,
    },
    kernel_types::cgroup::Cgroup,
    read::checked,
};

/// `struct mem_cgroup *`
#[derive(Clone, Copy)]
pub struct MemCgroup(pub u64);

/// A page counter: pages in use and their limit.
#[derive(Clone, Copy)]
pub struct Counter {
    pub usage: u64,
    pub max: u64,
}

impl Counter {
    #[inline(always)]
    fn read(memcg: u64, counter: u32) -> Self {
        Self {
            usage: checked::read(memcg, counter + PAGE_COUNTER_USAGE.load()),
            max: checked::read(memcg, counter + PAGE_COUNTER_MAX_OFFSET.load()),
        }
    }

    /// Whether there is a limit and at most `slack` pages are left below it.
    #[inline(always)]
    pub fn is_near(self, slack: u64) -> bool {
        self.max < PAGE_COUNTER_MAX && self.usage + slack >= self.max
    }
}

impl MemCgroup {
    #[inline(always)]
    pub fn memory(self) -> Counter {
        Counter::read(self.0, MEMCG_MEMORY.load())
    }

    /// Memory and swap together. Only v1 has that limit; on v2 the same bytes are swap alone.
    #[inline(always)]
    pub fn memory_and_swap(self) -> Option<Counter> {
        if MEMORY_HIERARCHY.load() != 0 && present(&MEMCG_MEMSW) {
            Some(Counter::read(self.0, MEMCG_MEMSW.load()))
        } else {
            None
        }
    }

    /// How often it ran out by itself (`MEMCG_OOM`), not counting descendants.
    #[inline(always)]
    pub fn oom_events(self) -> u64 {
        if present(&MEMCG_EVENTS_LOCAL) && present(&MEMCG_OOM_EVENT) {
            checked::read(self.0, MEMCG_EVENTS_LOCAL.load() + 8 * MEMCG_OOM_EVENT.load())
        } else {
            0
        }
    }

    #[inline(always)]
    pub fn cgroup(self) -> Cgroup {
        Cgroup(checked::read(self.0, CSS_CGROUP.load()))
    }

    /// The memory cgroup above it, 0 above the root.
    #[inline(always)]
    pub fn parent(self) -> Self {
        Self(checked::read(self.0, CSS_PARENT.load()))
    }
}
