//! `struct cfs_bandwidth` (`kernel/sched/sched.h`): the quota of a task group.

use crate::{
    globals::{
        CFS_B_NR_PERIODS, CFS_B_NR_THROTTLED, CFS_B_PERIOD, CFS_B_QUOTA, CFS_B_THROTTLED_LIST,
    },
    read::checked,
};

/// `struct cfs_bandwidth *`
#[derive(Clone, Copy)]
pub struct Bandwidth(pub u64);

impl Bandwidth {
    /// Nanoseconds a period; `u64::MAX` is no quota (`RUNTIME_INF`).
    #[inline(always)]
    pub fn quota_ns(self) -> u64 {
        checked::read(self.0, CFS_B_QUOTA.load())
    }

    /// Nanoseconds.
    #[inline(always)]
    pub fn period_ns(self) -> u64 {
        checked::read(self.0, CFS_B_PERIOD.load())
    }

    #[inline(always)]
    pub fn nr_periods(self) -> u32 {
        checked::read(self.0, CFS_B_NR_PERIODS.load())
    }

    #[inline(always)]
    pub fn nr_throttled(self) -> u32 {
        checked::read(self.0, CFS_B_NR_THROTTLED.load())
    }

    /// Address of the head of the list of its throttled run queues.
    #[inline(always)]
    pub fn throttled_list(self) -> u64 {
        self.0 + u64::from(CFS_B_THROTTLED_LIST.load())
    }
}
