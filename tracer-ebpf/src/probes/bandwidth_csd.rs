//! `csd:csd_function_entry` and `_exit`, for `__cfsb_csd_unthrottle` alone.
//!
//! ```c
//! // since 6.4: (smp_call_func_t func, call_single_data_t *csd)
//! ```
//!
//! From 6.3 on a bandwidth timer asks other CPUs to unthrottle their run queues
//! (`__unthrottle_cfs_rq_async`, `kernel/sched/fair.c`); an idle CPU may answer milliseconds later,
//! and the kernel's account goes on until then. So the end is seen here, at the call itself.
//!
//! Traps: `func` cannot be read by a program of this type (the verifier knows no pointers to
//! functions), so the call is known by its `csd`. That is NULL for a call of a CPU to itself, and
//! the verifier does not know; it is never loaded from directly.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{
    globals::{CFS_RQ_CSD_LIST, CSD_FUNC, RQ_CFSB_CSD, RQ_CFSB_CSD_LIST, present},
    maps::{CSD_ENDING, LEARNED},
    probes::bandwidth_timer::{end_noted, note_list},
    read::checked,
};

#[btf_tracepoint(function = "csd_function_entry")]
pub fn csd_function_entry(ctx: BtfTracePointContext) -> i32 {
    let csd: u64 = ctx.arg(1);
    if !present(&RQ_CFSB_CSD) || !present(&RQ_CFSB_CSD_LIST) || !present(&CSD_FUNC) || csd == 0 {
        return 0;
    }
    let Some(learned) = LEARNED.get(0) else {
        return 0;
    };
    let function: u64 = checked::read(csd, CSD_FUNC.load());
    if learned.csd == 0 || function != learned.csd {
        return 0;
    }
    enter(csd);
    0
}

#[btf_tracepoint(function = "csd_function_exit")]
pub fn csd_function_exit(ctx: BtfTracePointContext) -> i32 {
    // Only compared: when the call is done its `csd` may be in use again.
    let csd: u64 = ctx.arg(1);
    let Some(ending) = CSD_ENDING.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's element. The call runs with interrupts off, so nothing comes between entry
    // and exit.
    let ending = unsafe { &mut *ending };
    if csd == 0 || ending.inside != csd {
        return 0;
    }
    ending.inside = 0;
    end_noted(ending, 0);
    0
}

/// Notes the run queues that are about to be unthrottled; `csd` is embedded in their `struct rq`.
#[inline(never)]
fn enter(csd: u64) -> u32 {
    let Some(ending) = CSD_ENDING.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's element, see `csd_function_exit`.
    let ending = unsafe { &mut *ending };
    let rq = csd - u64::from(RQ_CFSB_CSD.load());
    ending.used = 0;
    note_list(
        ending,
        rq + u64::from(RQ_CFSB_CSD_LIST.load()),
        CFS_RQ_CSD_LIST.load(),
    );
    ending.inside = csd;
    0
}
