//! `oom:mark_victim`: every process that the kernel's OOM killer kills.
//!
//! ```c
//! // up to 6.8, unless back-ported: (int pid)
//! // since 6.9 and in stable kernels: (struct task_struct *task, uid_t uid)
//! ```
//!
//! It runs in the task that triggered the OOM, with the victim's lock held, its SIGKILL queued and
//! its memory still there: the right moment for the breakdown (`mark_oom_victim`,
//! `mm/oom_kill.c`).
//!
//! The tracepoint does not say whose limit fired: see [`crate::oom`].

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use tracer_common::counters::OOM_ALREADY_DYING;

use crate::{
    emit::count,
    globals::{KILLS_ARE_SIGNALLED, MARK_VICTIM_HAS_TASK},
    kernel_types::task::Task,
    maps::PENDING_KILLS,
    oom,
};

#[btf_tracepoint(function = "mark_victim")]
pub fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    let me = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied at once.
    let kill = unsafe { PENDING_KILLS.get(me) }.copied();
    let _ = PENDING_KILLS.remove(me);
    let task = if MARK_VICTIM_HAS_TASK.load() == 1 {
        let task = Task(ctx.arg(0));
        if KILLS_ARE_SIGNALLED.load() == 1 {
            match kill {
                Some(kill) if kill.tgid == task.tgid() => {}
                _ => {
                    count(OOM_ALREADY_DYING);
                    return 0;
                }
            }
        }
        task
    } else {
        let pid: u64 = ctx.arg(0);
        match kill {
            // The signal goes to the leader or to the marked thread; the record takes the process.
            Some(kill) if Task(kill.task).pid() == pid as u32 || kill.tgid == pid as u32 => {
                Task(kill.task)
            }
            _ => {
                count(OOM_ALREADY_DYING);
                return 0;
            }
        }
    };
    oom::marked(task, me);
    0
}
