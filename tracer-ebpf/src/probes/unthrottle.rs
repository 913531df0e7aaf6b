//! Entry and exit of `unthrottle_cfs_rq` (`kernel/sched/fair.c`): the ends of throttled intervals
//! on every path, where the kernel allows fentry and fexit, or else kprobes.
//!
//! ```c
//! void unthrottle_cfs_rq(struct cfs_rq *cfs_rq)
//! ```
//!
//! The entry is needed because the kernel forgets the start at the end (since 6.12), and since 7.2
//! a call may do nothing, which only the exit shows.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tracer_common::records::{THROTTLE_SOURCE_FEXIT, THROTTLE_SOURCE_KRETPROBE};

use crate::{
    kernel_types::cfs_rq::CfsRq,
    maps::{ThrottledQueue, UNTHROTTLE_ENDING},
    throttle,
};

#[fentry(function = "unthrottle_cfs_rq")]
pub fn unthrottle_entry(ctx: FEntryContext) -> u32 {
    enter(CfsRq(ctx.arg(0)));
    0
}

#[fexit(function = "unthrottle_cfs_rq")]
pub fn unthrottle_exit(_ctx: FExitContext) -> u32 {
    leave(THROTTLE_SOURCE_FEXIT);
    0
}

#[kprobe(function = "unthrottle_cfs_rq")]
pub fn unthrottle_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(queue) = ctx.arg(0) {
        enter(CfsRq(queue));
    }
    0
}

#[kretprobe(function = "unthrottle_cfs_rq")]
pub fn unthrottle_kretprobe(_ctx: RetProbeContext) -> u32 {
    leave(THROTTLE_SOURCE_KRETPROBE);
    0
}

/// Notes what is about to be unthrottled.
#[inline(always)]
fn enter(queue: CfsRq) {
    if let Some(ending) = UNTHROTTLE_ENDING.get_ptr_mut(0) {
        let clock = if queue.is_throttled() {
            queue.throttled_clock()
        } else {
            0
        };
        // SAFETY: this CPU's element; the function runs under the run queue's lock with interrupts
        // off.
        unsafe {
            *ending = ThrottledQueue {
                cfs_rq: queue.0,
                clock,
                self_base: queue.self_base(),
            }
        };
    }
}

/// What was noted at the entry has ended, unless the call did nothing.
#[inline(always)]
fn leave(source: u32) {
    let Some(ending) = UNTHROTTLE_ENDING.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: see `enter`. The return has no argument, so the entry's is taken; it counts once, also
    // where an entry or a return is left out (a kretprobe has a limited number of them under way).
    let noted = unsafe {
        let noted = *ending;
        (*ending).clock = 0;
        noted
    };
    let queue = CfsRq(noted.cfs_rq);
    if noted.clock != 0 && !queue.is_throttled() {
        // The clock can have gone on within the call; the kernel's account ended before that.
        let end = queue.end_of(noted.clock, noted.self_base, queue.rq().clock());
        throttle::ended(noted.cfs_rq, noted.clock, end, source);
    }
}
