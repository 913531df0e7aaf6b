//! `timer:hrtimer_expire_entry` and `_exit`, for the timers of quotas alone.
//!
//! ```c
//! (struct hrtimer *hrtimer, …)   // all versions: the first argument is the timer
//! ```
//!
//! A quota's period timer (and its slack timer) refills the run queues that are throttled and ends
//! their throttling: those of its own CPU before it returns, those of other CPUs too up to 6.2. From
//! 6.3 on other CPUs are only asked to do it ([`super::bandwidth_csd`]).
//!
//! Every high-resolution timer comes through here. The addresses of the two functions are taken
//! from a quota of the running task, since all quotas have the same.

use aya_ebpf::{
    helpers::bpf_get_current_task, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use tracer_common::{
    counters::LOST_THROTTLE_LIST,
    maps::{MAX_ENDS, SLOT_UNKNOWN},
    records::THROTTLE_SOURCE_TIMER,
};

use crate::{
    atomic::add_u64,
    emit::{count, cpu, now},
    globals::{
        CALLS_ARE_SEEN, CFS_B_PERIOD_TIMER, CFS_B_SLACK_TIMER, CFS_RQ_THROTTLED_LIST, CSD_FUNC,
        HRTIMER_FUNCTION, RQ_CFSB_CSD, TASK_GROUP, THROTTLE_BY_FUNCTION, cpus, present,
    },
    kernel_types::{
        bandwidth::Bandwidth,
        cfs_rq::{CfsRq, TaskGroup},
        task::Task,
    },
    maps::{Ending, LEARNED, Learned, SLOTS, TIMER_ENDING},
    read::{checked, direct},
    slots::own_slot,
    throttle,
};

#[btf_tracepoint(function = "hrtimer_expire_entry")]
pub fn hrtimer_expire_entry(ctx: BtfTracePointContext) -> i32 {
    let timer: u64 = ctx.arg(0);
    let function = direct::u64(timer, HRTIMER_FUNCTION.load());
    let Some(learned) = LEARNED.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the only element of the array; its words are written once, with the same values by
    // whoever comes first.
    let learned = unsafe { &mut *learned };
    if learned.period_timer == 0 {
        learn(learned);
    }
    let (member, counts_periods) = if function == learned.period_timer {
        (CFS_B_PERIOD_TIMER.load(), 1)
    } else if function == learned.slack_timer {
        (CFS_B_SLACK_TIMER.load(), 0)
    } else {
        return 0;
    };
    enter(timer, timer - u64::from(member), counts_periods);
    0
}

#[btf_tracepoint(function = "hrtimer_expire_exit")]
pub fn hrtimer_expire_exit(ctx: BtfTracePointContext) -> i32 {
    let timer: u64 = ctx.arg(0);
    let Some(ending) = TIMER_ENDING.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's element. These timers run with interrupts off, so nothing comes between
    // entry and exit.
    let ending = unsafe { &mut *ending };
    if ending.inside != timer || timer == 0 {
        return 0;
    }
    ending.inside = 0;
    leave(ending);
    0
}

/// Takes the addresses from the quota of the current task's group.
#[inline(always)]
fn learn(learned: &mut Learned) {
    // SAFETY: the helper has no precondition.
    let current = unsafe { bpf_get_current_task() };
    let group = TaskGroup(checked::read(current, TASK_GROUP.load()));
    let bandwidth = group.bandwidth();
    let function = HRTIMER_FUNCTION.load();
    learned.slack_timer = checked::read(bandwidth.0, CFS_B_SLACK_TIMER.load() + function);
    if present(&RQ_CFSB_CSD) && present(&CSD_FUNC) {
        let rq = Task(current).entity().cfs_rq().rq();
        learned.csd = checked::read(rq.0, RQ_CFSB_CSD.load() + CSD_FUNC.load());
    }
    learned.period_timer = checked::read(bandwidth.0, CFS_B_PERIOD_TIMER.load() + function);
}

/// Notes what is throttled before the timer's function runs.
#[inline(never)]
fn enter(timer: u64, bandwidth: u64, counts_periods: u32) -> u32 {
    let Some(ending) = TIMER_ENDING.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's element, see `hrtimer_expire_exit`.
    let ending = unsafe { &mut *ending };
    let quota = Bandwidth(bandwidth);
    ending.bandwidth = bandwidth;
    ending.nr_periods = quota.nr_periods();
    ending.nr_throttled = quota.nr_throttled();
    ending.used = 0;
    ending.counts_periods = counts_periods;
    if THROTTLE_BY_FUNCTION.load() == 0 {
        note_list(ending, quota.throttled_list(), CFS_RQ_THROTTLED_LIST.load());
    }
    ending.inside = timer;
    0
}

/// Notes the run queues of the kernel list `head`, whose nodes are at `node` in each.
///
/// The list may change while it is read; every read is checked and the number of steps bounded, so
/// at worst an end is missed and closed late.
#[inline(always)]
pub fn note_list(ending: &mut Ending, head: u64, node: u32) {
    let mut link: u64 = checked::read(head, 0);
    let most = if cpus() < MAX_ENDS as u32 {
        cpus()
    } else {
        MAX_ENDS as u32
    };
    for index in 0..most as usize {
        if link == head || link == 0 {
            return;
        }
        let cfs_rq = CfsRq(link - u64::from(node));
        if index < MAX_ENDS {
            ending.queues[index].cfs_rq = cfs_rq.0;
            ending.queues[index].clock = cfs_rq.throttled_clock();
            ending.queues[index].self_base = cfs_rq.self_base();
            ending.used = index as u32 + 1;
        }
        link = checked::read(link, 0);
    }
    if link != head {
        count(LOST_THROTTLE_LIST);
    }
}

/// Ends the intervals of the noted run queues that are throttled no more.
#[inline(always)]
pub fn end_noted(ending: &Ending, in_timer: u32) {
    let most = if cpus() < MAX_ENDS as u32 {
        cpus()
    } else {
        MAX_ENDS as u32
    };
    for index in 0..most as usize {
        if index >= MAX_ENDS || index as u32 >= ending.used {
            return;
        }
        let queue = ending.queues[index];
        end_if_over(queue.cfs_rq, queue.clock, queue.self_base, in_timer);
    }
}

/// Where other CPUs are asked to end theirs, and do it within calls that are seen, the timer ends
/// those of its own CPU alone: an answer may come before the timer returns, and counts there.
///
/// A clock of 0 is an interval that the kernel does not account (nothing was held up in it).
#[inline(never)]
#[unsafe(export_name = "throttle_end_if_over")]
pub extern "C" fn end_if_over(cfs_rq: u64, clock: u64, self_base: u64, in_timer: u32) -> u32 {
    if clock == 0 {
        return 0;
    }
    let queue = CfsRq(cfs_rq);
    if in_timer != 0 && CALLS_ARE_SEEN.load() == 1 && queue.rq().cpu() != cpu() {
        return 0;
    }
    if queue.is_throttled() && queue.throttled_clock() == clock {
        return 0;
    }
    // The clock can have gone on since; the kernel's account tells when this one ended.
    let end = queue.end_of(clock, self_base, queue.rq().clock());
    throttle::ended(cfs_rq, clock, end, THROTTLE_SOURCE_TIMER)
}

/// The timer's function is done.
#[inline(never)]
fn leave(ending: &Ending) -> u32 {
    if THROTTLE_BY_FUNCTION.load() == 0 {
        end_noted(ending, 1);
    }
    // The other timer can run on another CPU meanwhile: each period counts once.
    if ending.counts_periods == 0 {
        return 0;
    }
    let quota = Bandwidth(ending.bandwidth);
    let periods = quota.nr_periods().wrapping_sub(ending.nr_periods);
    if periods == 0 {
        return 0;
    }
    let throttled = quota.nr_throttled().wrapping_sub(ending.nr_throttled);
    let slot = own_slot(quota.task_group().cgroup().id());
    if slot == SLOT_UNKNOWN {
        return 0;
    }
    if let Some(shared) = SLOTS.get_ptr_mut(slot) {
        // SAFETY: an element of the array, aligned words that are only added to atomically; the
        // start of the period is written here alone, one timer at a time.
        unsafe {
            add_u64(&raw mut (*shared).periods, u64::from(periods));
            add_u64(&raw mut (*shared).throttled_periods, u64::from(throttled));
            (&raw mut (*shared).period_start_ns).write_volatile(now());
        }
    }
    1
}
