//! `signal:signal_generate`: which of the tasks that the OOM killer marks are really killed.
//!
//! ```c
//! (int sig, struct kernel_siginfo *info, struct task_struct *task, int type, int result)
//! ```
//!
//! `__oom_kill_process` (`mm/oom_kill.c`) sends SIGKILL as the kernel (`SEND_SIG_PRIV`) and marks
//! the victim right after, in the same task. A task that was dying anyway is only marked: it gets
//! reserves, and nobody is killed. Where `mark_victim` has only a pid, this is also where the task
//! comes from.
//!
//! A SIGKILL of anybody else is told with who sent it: that is what ended a container, perhaps.
//!
//! Processes that share the victim's memory without being its threads are sent SIGKILL right after,
//! and are not marked.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counters::LOST_MAP_FULL,
    records::{KILL_FLAG_FIRST, KIND_KILL_SIGNAL, KillSignal},
};

use crate::{
    emit::{count, header},
    kernel_types::task::Task,
    maps::{EVENTS, Kill, PENDING_KILLS},
    oom::{self, SIGKILL},
};

/// `SEND_SIG_PRIV` (`include/linux/sched/signal.h`): a constant in place of a pointer.
const SEND_SIG_PRIV: u64 = 1;
/// `TRACE_SIGNAL_DELIVERED` (`include/trace/events/signal.h`): it was not pending before.
const DELIVERED: u32 = 0;

/// Sends the record of a SIGKILL that the process of thread `me` sends to `task`.
#[inline(always)]
fn tell(task: Task, me: u64) {
    // Without room the end of a container does not say who killed it.
    let Some(mut entry) = EVENTS.reserve::<KillSignal>(0) else {
        return;
    };
    entry.write(KillSignal {
        header: header(KIND_KILL_SIGNAL, size_of::<KillSignal>()),
        cgroup: task.cgroup_key(),
        tgid: task.tgid(),
        flags: if task.is_first() { KILL_FLAG_FIRST } else { 0 },
        sender_tgid: (me >> 32) as u32,
        reserved: 0,
        sender_comm: bpf_get_current_comm().unwrap_or_default(),
    });
    entry.submit(0);
}

#[btf_tracepoint(function = "signal_generate")]
pub fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let signal: u64 = ctx.arg(0);
    let info: u64 = ctx.arg(1);
    if signal as u32 != SIGKILL {
        return 0;
    }
    let task = Task(ctx.arg(2));
    let me = bpf_get_current_pid_tgid();
    let result: u64 = ctx.arg(4);
    if info != SEND_SIG_PRIV {
        if result as u32 == DELIVERED {
            tell(task, me);
        }
        return 0;
    }
    if oom::is_sharer(task, me, result as u32 != DELIVERED) {
        // A group kill marks it too; it is told once.
        let _ = PENDING_KILLS.remove(me);
        return 0;
    }
    let kill = Kill {
        task: task.0,
        tgid: task.tgid(),
        reserved: 0,
    };
    if PENDING_KILLS.insert(me, kill, 0).is_err() {
        count(LOST_MAP_FULL);
    }
    0
}
