//! limitscope's eBPF programs.
//!
//! Everything here runs in the kernel. The programs read kernel memory at offsets that user space
//! took from the running kernel's BTF ([`globals`]), count in maps ([`maps`]), and send rare events
//! on ring buffers ([`emit`]). They only read: no helper that writes to user memory, sends signals
//! or changes a return value is used.
//!
//! | file | hook | what for |
//! | --- | --- | --- |
//! | [`probes::sched_switch`] | `sched:sched_switch` | switches, waits, slices; parked threads |
//! | [`probes::bandwidth_timer`] | `timer:hrtimer_expire_entry/exit` | ends of throttling, periods |
//! | [`probes::bandwidth_csd`] | `csd:csd_function_entry/exit` | ends on other CPUs |
//! | [`probes::unthrottle`] | `unthrottle_cfs_rq`: fentry/fexit, kprobe | ends, where the kernel allows it |
//! | [`probes::oom_kill_process`] | `oom_kill_process`: fentry, kprobe | what ran out |
//! | [`probes::mark_victim`] | `oom:mark_victim` | OOM kills |
//! | [`probes::signal_generate`] | `signal:signal_generate` | real kills |
//! | [`probes::cgroup`] | `cgroup:cgroup_mkdir`, … | slots before anything runs |
#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the macros hand each program its context by value"
)]
#![feature(core_intrinsics)]
#![allow(
    internal_features,
    reason = "the only way to an atomic addition: see `atomic`"
)]

mod atomic;
mod emit;
mod frozen;
mod globals;
mod kernel_types;
mod maps;
mod notification;
mod oom;
mod parallelism;
mod probes;
mod read;
mod slots;
mod throttle;
mod throttled_waits;
mod waits;

/// The verifier accepts no endless loop, so an object with a panic that can be reached does not
/// load.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Some helpers are for programs under the GPL alone.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
