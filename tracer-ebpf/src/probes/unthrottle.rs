//! Entry and exit of `unthrottle_cfs_rq` (`kernel/sched/fair.c`): the ends of throttled intervals
//! on every path, where the kernel allows fentry and fexit.
//!
//! ```c
//! void unthrottle_cfs_rq(struct cfs_rq *cfs_rq)
//! ```
//!
//! The entry is needed because the kernel forgets the start at the end (since 6.12), and since 7.2
//! a call may do nothing, which only the exit shows.

use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use tracer_common::records::THROTTLE_SOURCE_FEXIT;

use crate::{
    kernel_types::cfs_rq::CfsRq,
    maps::{ThrottledQueue, UNTHROTTLE_ENDING},
    throttle,
};

#[fentry(function = "unthrottle_cfs_rq")]
pub fn unthrottle_entry(ctx: FEntryContext) -> u32 {
    let queue = CfsRq(ctx.arg(0));
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
            }
        };
    }
    0
}

#[fexit(function = "unthrottle_cfs_rq")]
pub fn unthrottle_exit(ctx: FExitContext) -> u32 {
    let queue = CfsRq(ctx.arg(0));
    let Some(ending) = UNTHROTTLE_ENDING.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: see `unthrottle_entry`.
    let ThrottledQueue { cfs_rq, clock } = unsafe { *ending };
    if cfs_rq == queue.0 && clock != 0 && !queue.is_throttled() {
        // Read again: the argument itself is an address of a known type to the verifier, which the
        // function takes none of, and the compiler knows the two to be the same.
        // SAFETY: see `unthrottle_entry`.
        let cfs_rq = unsafe { (&raw const (*ending).cfs_rq).read_volatile() };
        let end = CfsRq(cfs_rq).rq().clock();
        throttle::ended(cfs_rq, clock, end, THROTTLE_SOURCE_FEXIT);
    }
    0
}
