//! `struct mem_cgroup` (`include/linux/memcontrol.h`). Its css is its first member.

use tracer_common::records::OomLevel;

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

impl MemCgroup {
    /// What there is to know of it at an OOM kill.
    #[inline(always)]
    pub fn level(self) -> OomLevel {
        let memory = MEMCG_MEMORY.load();
        let (memsw_usage_pages, memsw_limit_pages) =
            if MEMORY_HIERARCHY.load() != 0 && present(&MEMCG_MEMSW) {
                // Only v1 has a limit of memory and swap together; on v2 the same bytes are swap
                // alone.
                let memsw = MEMCG_MEMSW.load();
                (
                    checked::read(self.0, memsw + PAGE_COUNTER_USAGE.load()),
                    checked::read(self.0, memsw + PAGE_COUNTER_MAX_OFFSET.load()),
                )
            } else {
                (0, 0)
            };
        OomLevel {
            cgroup: self.cgroup().key(),
            usage_pages: checked::read(self.0, memory + PAGE_COUNTER_USAGE.load()),
            limit_pages: checked::read(self.0, memory + PAGE_COUNTER_MAX_OFFSET.load()),
            memsw_usage_pages,
            memsw_limit_pages,
            oom_events: if present(&MEMCG_EVENTS_LOCAL) && present(&MEMCG_OOM_EVENT) {
                checked::read(
                    self.0,
                    MEMCG_EVENTS_LOCAL.load() + 8 * MEMCG_OOM_EVENT.load(),
                )
            } else {
                u64::MAX
            },
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
