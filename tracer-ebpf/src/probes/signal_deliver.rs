//! `signal:signal_deliver`: a victim of the OOM killer takes its SIGKILL.
//!
//! ```c
//! (int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
//! ```
//!
//! It runs in each thread of the victim, on its way out of the kernel, before any of its memory is
//! given back (`get_signal`, `kernel/signal.c`; since 5.0 also for threads whose process is dying).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::oom::{self, SIGKILL};

#[btf_tracepoint(function = "signal_deliver")]
pub fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    let signal: u64 = ctx.arg(0);
    if signal as u32 == SIGKILL {
        oom::takes_sigkill();
    }
    0
}
