//! `struct oom_control` (`include/linux/oom.h`): what the OOM killer was asked for.

use crate::{
    globals::{OC_CHOSEN, OC_CHOSEN_POINTS, OC_CONSTRAINT, OC_GFP_MASK, OC_MEMCG, OC_ORDER},
    kernel_types::{mem_cgroup::MemCgroup, task::Task},
    read::checked,
};

/// `struct oom_control *`
#[derive(Clone, Copy)]
pub struct OomControlPtr(pub u64);

impl OomControlPtr {
    /// The memory cgroup that ran out; none where the machine did.
    #[inline(always)]
    pub fn mem_cgroup(self) -> MemCgroup {
        MemCgroup(checked::read(self.0, OC_MEMCG.load()))
    }

    /// `gfp_t` of the allocation.
    #[inline(always)]
    pub fn gfp_mask(self) -> u32 {
        checked::read(self.0, OC_GFP_MASK.load())
    }

    /// Order of the allocation; -1 is SysRq-f.
    #[inline(always)]
    pub fn order(self) -> i32 {
        checked::read(self.0, OC_ORDER.load())
    }

    /// `enum oom_constraint`.
    #[inline(always)]
    pub fn constraint(self) -> u32 {
        checked::read(self.0, OC_CONSTRAINT.load())
    }

    /// Process that was chosen.
    #[inline(always)]
    pub fn chosen_tgid(self) -> u32 {
        Task(checked::read(self.0, OC_CHOSEN.load())).tgid()
    }

    /// Its badness in pages.
    #[inline(always)]
    pub fn chosen_points(self) -> i64 {
        checked::read(self.0, OC_CHOSEN_POINTS.load())
    }
}
