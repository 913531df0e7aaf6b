//! Whether the reader of a ring is woken for a record.

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::bpf_get_current_task};

use crate::kernel_types::task::Task;

/// Flags of a record's submission: the reader is not woken by a CPU that may be going offline.
///
/// Up to 5.10 the quotas of such a CPU are lifted when it takes no interrupts any more
/// (`sched_cpu_dying`). The wake-up, an `irq_work`, would stay pending there for ever, and whoever
/// closes the ring waits for it (`irq_work_sync`). The reader finds the record with the next one, or at
/// the end of its interval.
#[inline(always)]
pub fn flags() -> u64 {
    // SAFETY: the helper has no precondition.
    let task = Task(unsafe { bpf_get_current_task() });
    if task.may_stop_the_cpu() {
        u64::from(BPF_RB_NO_WAKEUP)
    } else {
        0
    }
}
