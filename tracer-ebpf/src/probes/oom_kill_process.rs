//! Entry of `oom_kill_process` (`mm/oom_kill.c`), by fentry or by kprobe: what ran out, before
//! anybody is killed.
//!
//! ```c
//! static void oom_kill_process(struct oom_control *oc, const char *message)
//! ```
//!
//! It is called once for an OOM, in the thread that asked for memory. The victims follow at
//! [`super::mark_victim`] in the same thread.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tracer_common::records::{OOM_SOURCE_FENTRY, OOM_SOURCE_KPROBE};

use crate::oom;

#[fentry(function = "oom_kill_process")]
pub fn oom_kill_entry(ctx: FEntryContext) -> u32 {
    oom::entered(ctx.arg(0), OOM_SOURCE_FENTRY);
    0
}

#[kprobe(function = "oom_kill_process")]
pub fn oom_kill_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(control) = ctx.arg(0) {
        oom::entered(control, OOM_SOURCE_KPROBE);
    }
    0
}
