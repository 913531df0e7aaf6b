//! Sending records and counting what was lost.

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use tracer_common::header::RecordHeader;

use crate::maps::COUNTERS;

/// Adds one to a counter of [`tracer_common::counters`].
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: an element of this CPU's own array. A program that interrupts this one on the
        // same CPU can lose one count; it never reads as garbage.
        unsafe { *value += 1 };
    }
}

/// The CPU that this program runs on.
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_get_smp_processor_id() as u32 }
}

/// CLOCK_MONOTONIC in nanoseconds. Not to be mixed with `rq->clock`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// A header for a record of `size` bytes made now.
#[inline(always)]
pub fn header(kind: u32, size: usize) -> RecordHeader {
    RecordHeader { kind, size: size as u32, cpu: cpu(), reserved: 0, monotonic_ns: now() }
}
