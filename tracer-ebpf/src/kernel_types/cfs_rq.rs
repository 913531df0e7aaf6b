//! `struct cfs_rq` and `struct task_group` (`kernel/sched/sched.h`): a group's run queue on one CPU.

use crate::{
    globals::{
        CFS_RQ_H_NR_QUEUED, CFS_RQ_H_NR_RUNNABLE, CFS_RQ_RQ, CFS_RQ_SELF_CLOCK, CFS_RQ_SELF_TIME,
        CFS_RQ_TG, CFS_RQ_THROTTLE_COUNT, CFS_RQ_THROTTLED, CFS_RQ_THROTTLED_CLOCK, CSS_CGROUP,
        GROUP_QUEUES_ARE_PERCPU, PER_CPU_OFFSET, RQ_CLOCK, RQ_CPU, TG_CFS_BANDWIDTH, TG_CFS_RQ,
        TG_CSS, THROTTLED_MASK, present,
    },
    kernel_types::{bandwidth::Bandwidth, cgroup::Cgroup},
    read::checked,
};

/// `struct cfs_rq *`
#[derive(Clone, Copy)]
pub struct CfsRq(pub u64);

impl CfsRq {
    /// Whether its own quota is used up. An `int` up to 6.17, a bit from 6.18 on.
    #[inline(always)]
    pub fn is_throttled(self) -> bool {
        let byte: u8 = checked::read(self.0, CFS_RQ_THROTTLED.load());
        u32::from(byte) & THROTTLED_MASK.load() != 0
    }

    /// `rq->clock` at the start of the throttled interval as the kernel accounts it. 0 where it
    /// does not (yet): since 6.12 an empty run queue, since 6.18 one without parked thread.
    #[inline(always)]
    pub fn throttled_clock(self) -> u64 {
        checked::read(self.0, CFS_RQ_THROTTLED_CLOCK.load())
    }

    /// Start of the throttled interval that it is in, whichever level's quota it is, less all such
    /// intervals before (`tg_unthrottle_up` adds them up in `throttled_clock_self_time`). 0 where
    /// the kernel has no such account, or is in no such interval.
    #[inline(always)]
    pub fn self_base(self) -> u64 {
        if !present(&CFS_RQ_SELF_CLOCK) || !present(&CFS_RQ_SELF_TIME) {
            return 0;
        }
        let clock: u64 = checked::read(self.0, CFS_RQ_SELF_CLOCK.load());
        if clock == 0 {
            return 0;
        }
        clock.wrapping_sub(checked::read(self.0, CFS_RQ_SELF_TIME.load()))
    }

    /// When the interval ended that began at `start`, if it is the last that has, and `latest` at
    /// the latest. `base` is what [`Self::self_base`] was before; without it this is `latest`.
    #[inline(always)]
    pub fn end_of(self, start: u64, base: u64, latest: u64) -> u64 {
        // A level above can hold it on: then the account goes on too.
        if base != 0 && self.self_base() != base {
            let time: u64 = checked::read(self.0, CFS_RQ_SELF_TIME.load());
            let end = base.wrapping_add(time);
            if end > start && end < latest {
                return end;
            }
        }
        latest
    }

    /// Threads on it and below it.
    #[inline(always)]
    pub fn threads(self) -> u32 {
        if !present(&CFS_RQ_H_NR_QUEUED) {
            return 0;
        }
        checked::read(self.0, CFS_RQ_H_NR_QUEUED.load())
    }

    /// Those of them that run or want to.
    #[inline(always)]
    pub fn runnable(self) -> u32 {
        if !present(&CFS_RQ_H_NR_RUNNABLE) {
            return 0;
        }
        checked::read(self.0, CFS_RQ_H_NR_RUNNABLE.load())
    }

    /// How many levels, from itself upwards, are throttled.
    #[inline(always)]
    pub fn throttle_count(self) -> u32 {
        checked::read(self.0, CFS_RQ_THROTTLE_COUNT.load())
    }

    /// The CPU's run queue.
    #[inline(always)]
    pub fn rq(self) -> Rq {
        Rq(checked::read(self.0, CFS_RQ_RQ.load()))
    }

    /// The group.
    #[inline(always)]
    pub fn task_group(self) -> TaskGroup {
        TaskGroup(checked::read(self.0, CFS_RQ_TG.load()))
    }
}

/// `struct rq *`
#[derive(Clone, Copy)]
pub struct Rq(pub u64);

impl Rq {
    /// Nanoseconds by the scheduler's clock of that CPU, as fresh as its last update.
    #[inline(always)]
    pub fn clock(self) -> u64 {
        checked::read(self.0, RQ_CLOCK.load())
    }

    #[inline(always)]
    pub fn cpu(self) -> u32 {
        checked::read(self.0, RQ_CPU.load())
    }
}

/// `struct task_group *`
#[derive(Clone, Copy)]
pub struct TaskGroup(pub u64);

impl TaskGroup {
    /// Its quota.
    #[inline(always)]
    pub fn bandwidth(self) -> Bandwidth {
        Bandwidth(self.0 + u64::from(TG_CFS_BANDWIDTH.load()))
    }

    /// Its run queue of a CPU; something that is none where the kernel keeps them otherwise.
    #[inline(always)]
    pub fn queue(self, cpu: u32) -> CfsRq {
        Self::queue_in(self.queues(), cpu)
    }

    /// Where its run queues are, for [`Self::queue_in`]; 0 where that is not known.
    #[inline(always)]
    pub fn queues(self) -> u64 {
        if !present(&TG_CFS_RQ) {
            return 0;
        }
        checked::read(self.0, TG_CFS_RQ.load())
    }

    /// That of a CPU.
    #[inline(always)]
    pub fn queue_in(queues: u64, cpu: u32) -> CfsRq {
        if queues == 0 {
            return CfsRq(0);
        }
        if GROUP_QUEUES_ARE_PERCPU.load() == 0 {
            return CfsRq(checked::read(queues.wrapping_add(u64::from(cpu) * 8), 0));
        }
        if PER_CPU_OFFSET.load() == 0 {
            return CfsRq(0);
        }
        let base: u64 = checked::read(PER_CPU_OFFSET.load(), 8 * cpu);
        CfsRq(base.wrapping_add(queues))
    }

    /// Its cgroup; none for an autogroup.
    #[inline(always)]
    pub fn cgroup(self) -> Cgroup {
        Cgroup(checked::read(self.0, TG_CSS.load() + CSS_CGROUP.load()))
    }
}

impl Bandwidth {
    /// The group that it belongs to; it is embedded in it ([`TaskGroup::bandwidth`]).
    #[inline(always)]
    pub fn task_group(self) -> TaskGroup {
        TaskGroup(self.0 - u64::from(TG_CFS_BANDWIDTH.load()))
    }
}
